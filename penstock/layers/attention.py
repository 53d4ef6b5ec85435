"""Self-attention of one layer: fused q, k and v, optional norms on heads, rotation, paged attention, output."""

from __future__ import annotations

import torch

from penstock.attention.base import BoundAttention, HeadNorms
from penstock.config.shape import ModelShape
from penstock.layers.context import BuildContext
from penstock.layers.linear import Linear
from penstock.layers.module import Module
from penstock.layers.norm import RMSNorm


class Attention(Module):
    """[T, H] -> [S, H]: all tokens attend, but only those in `wanted_S` (None: all) have a result.

    Args:
        layer: its number, under which the backend keeps its keys and values.
        name: checkpoint name of the block, as "model.layers.0.self_attn".
        qkv_bias, output_bias: whether those products have biases.
        qk_norm: whether queries and keys are normed per head before rotation.
    """

    def __init__(
        self,
        context: BuildContext,
        shape: ModelShape,
        layer: int,
        name: str,
        *,
        qkv_bias: bool,
        output_bias: bool,
        qk_norm: bool,
    ):
        super().__init__()
        self.layer = layer
        q_size, kv_size = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        shards = {f"{name}.q_proj": q_size, f"{name}.k_proj": kv_size, f"{name}.v_proj": kv_size}
        self.qkv = Linear(context, shape.hidden_size, shards, qkv_bias)
        self.output = Linear(context, q_size, {f"{name}.o_proj": shape.hidden_size}, output_bias)
        self.norms: HeadNorms | None = None
        if qk_norm:
            self.q_norm = RMSNorm(context, shape.head_dim, shape.norm_eps, f"{name}.q_norm")
            self.k_norm = RMSNorm(context, shape.head_dim, shape.norm_eps, f"{name}.k_norm")
            self.norms = HeadNorms(self.q_norm.weight, self.k_norm.weight, shape.norm_eps)

    def forward(
        self,
        x_TH: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        attn: BoundAttention,
        wanted_S: torch.Tensor | None,
    ) -> torch.Tensor:
        attended_TN = attn.attend(self.layer, self.qkv(x_TH), angles, self.norms)
        out_SH: torch.Tensor = self.output(attended_TN if wanted_S is None else attended_TN[wanted_S])
        return out_SH
