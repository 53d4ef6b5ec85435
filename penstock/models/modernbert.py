"""ModernBERT (https://arxiv.org/abs/2412.13663): a norm before each block, rotation, gated MLPs, local layers."""

from __future__ import annotations

import torch
from torch import nn

from penstock.attention.base import BoundAttention
from penstock.config.shape import ModelShape, Rope
from penstock.layers.activation import PLAIN_ACTIVATIONS
from penstock.layers.context import BuildContext
from penstock.layers.embedding import Embedding
from penstock.layers.label_head import LinearHead, NoHead
from penstock.layers.linear import Linear
from penstock.layers.module import Module
from penstock.layers.norm import LayerNorm
from penstock.layers.rotary import Rotary
from penstock.models.interface import Model
from penstock.quantization.base import UnquantizedLinear

Angles = tuple[torch.Tensor, torch.Tensor]


class Layer(Module):
    """[T, H] -> [T, H]. The first one gets what is normed already."""

    def __init__(self, context: BuildContext, shape: ModelShape, index: int):
        super().__init__()
        hidden, inner, name = shape.hidden_size, shape.intermediate_size, f"layers.{index}"
        self.index = index
        self.attention_norm = _norm(context, shape, f"{name}.attn_norm") if index else None
        self.qkv = Linear(context, hidden, {f"{name}.attn.Wqkv": 3 * hidden}, shape.attention_bias)
        self.output = Linear(context, hidden, {f"{name}.attn.Wo": hidden}, shape.attention_bias)
        self.mlp_norm = _norm(context, shape, f"{name}.mlp_norm")
        self.up = Linear(context, hidden, {f"{name}.mlp.Wi": 2 * inner}, shape.mlp_bias)
        self.activation = PLAIN_ACTIVATIONS.get(shape.activation)
        self.down = Linear(context, inner, {f"{name}.mlp.Wo": hidden}, shape.mlp_bias)

    def forward(self, x_TH: torch.Tensor, angles: Angles, attn: BoundAttention) -> torch.Tensor:
        normed_TH = x_TH if self.attention_norm is None else self.attention_norm(x_TH)
        x_TH = x_TH + self.output(attn.attend(self.index, self.qkv(normed_TH), angles))
        first_TI, second_TI = self.up(self.mlp_norm(x_TH)).chunk(2, dim=-1)
        out_TH: torch.Tensor = x_TH + self.down(self.activation(first_TI).mul_(second_TI))
        return out_TH


class LabelHead(Module):
    """Logits of labels: a product, an activation, a norm and another product."""

    def __init__(self, context: BuildContext, shape: ModelShape):
        super().__init__()
        encoder, hidden = shape.encoder, shape.hidden_size
        assert encoder is not None
        self.dense = Linear(context, hidden, {"head.dense": hidden}, encoder.head_bias, UnquantizedLinear())
        self.activation = PLAIN_ACTIVATIONS.get(encoder.head_activation)
        self.norm = _norm(context, shape, "head.norm")
        self.out = LinearHead(context, hidden, shape.num_labels, "classifier", bias=True)

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SN: torch.Tensor = self.out(self.norm(self.activation(self.dense(hidden_SH))))
        return logits_SN


class ModernBert(Model):
    """Layers whose window is None see the whole text, and turn by other angles than the local ones."""

    renames = ((r"^model\.", ""),)
    redundant_names = ("decoder.*",)

    def __init__(self, shape: ModelShape, context: BuildContext):
        super().__init__()
        assert shape.encoder is not None
        self.words = Embedding(context, shape.vocab_size, shape.hidden_size, "embeddings.tok_embeddings")
        self.first_norm = _norm(context, shape, "embeddings.norm")
        self.rotary = Rotary(context, shape.rope, shape.head_dim)
        self.local_rotary = Rotary(context, Rope(theta=shape.encoder.local_theta), shape.head_dim)
        self.layers = nn.ModuleList(Layer(context, shape, i) for i in range(shape.num_layers))
        self.last_norm = _norm(context, shape, "final_norm")
        self.head = NoHead("head.*", "classifier.*") if shape.head == "none" else LabelHead(context, shape)
        self._is_local = [window is not None for window in shape.layer_windows]

    def forward(
        self,
        token_ids_T: torch.Tensor,
        positions_T: torch.Tensor,
        attn: BoundAttention,
        wanted_S: torch.Tensor | None = None,
    ) -> torch.Tensor:
        x_TH = self.first_norm(self.words(token_ids_T))
        angles, local_angles = self.rotary.at(positions_T), self.local_rotary.at(positions_T)
        for layer, is_local in zip(self.layers, self._is_local, strict=True):
            x_TH = layer(x_TH, local_angles if is_local else angles, attn)
        out_SH: torch.Tensor = self.last_norm(x_TH if wanted_S is None else x_TH[wanted_S])
        return out_SH

    def logits(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SN: torch.Tensor = self.head(hidden_SH)
        return logits_SN


def _norm(context: BuildContext, shape: ModelShape, name: str) -> LayerNorm:
    assert shape.encoder is not None
    return LayerNorm(context, shape.hidden_size, shape.norm_eps, name, bias=shape.encoder.norm_bias)
