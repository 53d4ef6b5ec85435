"""The decoder that all architectures here share; each states in its own file only what differs.

norm, attention, norm, gated MLP per layer, residuals around both; a final norm and a head.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from penstock.attention.base import BoundAttention
from penstock.config.shape import ModelShape
from penstock.layers.activation import ACTIVATIONS
from penstock.layers.attention import Attention
from penstock.layers.context import BuildContext
from penstock.layers.embedding import Embedding, Head, TiedEmbedding, TiedHead
from penstock.layers.label_head import LinearHead, NoHead, TokenRowsHead, TwoStepHead
from penstock.layers.linear import Linear
from penstock.layers.module import Module
from penstock.layers.norm import RMSNorm
from penstock.layers.rotary import Rotary
from penstock.models.interface import Model


@dataclass(frozen=True)
class Traits:
    """What distinguishes one decoder architecture from another."""

    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False


class MLP(Module):
    """down(activation(gate(x)) * up(x)), gate and up as one product."""

    def __init__(self, context: BuildContext, shape: ModelShape, name: str, bias: bool):
        super().__init__()
        hidden, inner = shape.hidden_size, shape.intermediate_size
        self.gate_up = Linear(context, hidden, {f"{name}.gate_proj": inner, f"{name}.up_proj": inner}, bias)
        self.down = Linear(context, inner, {f"{name}.down_proj": hidden}, bias)
        self.activation = ACTIVATIONS.get(shape.activation)

    def forward(self, x_TH: torch.Tensor) -> torch.Tensor:
        out_TH: torch.Tensor = self.down(self.activation(self.gate_up(x_TH)))
        return out_TH


class Layer(Module):
    """One layer. `residual_TH` is the running sum, changed in place; x is what the last block will add to it.

    Each sum is made by the norm that follows it, so a layer leaves its last one to the next layer. Behind its
    attention, a layer computes the tokens in `wanted_S` alone; None stands for all.
    """

    def __init__(self, context: BuildContext, shape: ModelShape, traits: Traits, index: int):
        super().__init__()
        name = f"model.layers.{index}"
        self.attention_norm = RMSNorm(context, shape.hidden_size, shape.norm_eps, f"{name}.input_layernorm")
        self.attention = Attention(
            context,
            shape,
            index,
            f"{name}.self_attn",
            qkv_bias=traits.qkv_bias,
            output_bias=traits.output_bias,
            qk_norm=traits.qk_norm,
        )
        self.mlp_norm = RMSNorm(context, shape.hidden_size, shape.norm_eps, f"{name}.post_attention_layernorm")
        self.mlp = MLP(context, shape, f"{name}.mlp", traits.mlp_bias)

    def forward(
        self,
        x_TH: torch.Tensor | None,
        residual_TH: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        attn: BoundAttention,
        wanted_S: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        normed_TH = self.attention_norm(residual_TH) if x_TH is None else self.attention_norm.add(x_TH, residual_TH)
        x_SH = self.attention(normed_TH, angles, attn, wanted_S)
        residual_SH = residual_TH if wanted_S is None else residual_TH[wanted_S]
        return self.mlp(self.mlp_norm.add(x_SH, residual_SH)), residual_SH


class Decoder(Model):
    """A stack of layers between an embedding and a head."""

    def __init__(self, shape: ModelShape, context: BuildContext):
        super().__init__()
        traits = self.traits(shape)
        self.rotary = Rotary(context, shape.rope, shape.head_dim)
        self.layers = nn.ModuleList(Layer(context, shape, traits, i) for i in range(shape.num_layers))
        self.norm = RMSNorm(context, shape.hidden_size, shape.norm_eps, "model.norm")
        table, vocab_size, hidden_size = "model.embed_tokens", shape.vocab_size, shape.hidden_size
        self.head: nn.Module
        self.embedding: nn.Module
        if shape.head == "vocabulary" and shape.tie_embeddings:
            self.head = head = TiedHead(context, hidden_size, vocab_size, table, unread="lm_head")
            self.embedding = TiedEmbedding(head)
            return
        self.embedding = embedding = Embedding(context, vocab_size, hidden_size, table)
        if shape.head == "vocabulary":
            self.head = Head(context, hidden_size, vocab_size, "lm_head")
        else:
            self.head = _label_head(shape, context, embedding)

    @staticmethod
    @abstractmethod
    def traits(shape: ModelShape) -> Traits:
        """What this architecture does differently."""

    def forward(
        self,
        token_ids_T: torch.Tensor,
        positions_T: torch.Tensor,
        attn: BoundAttention,
        wanted_S: torch.Tensor | None = None,
    ) -> torch.Tensor:
        angles = self.rotary.at(positions_T)
        residual_TH = self.embedding(token_ids_T)
        x_TH = None
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            x_TH, residual_TH = layer(x_TH, residual_TH, angles, attn, wanted_S if i == last else None)
        return self.norm(residual_TH) if x_TH is None else self.norm.add(x_TH, residual_TH)

    def logits(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SV: torch.Tensor = self.head(hidden_SH)
        return logits_SV


def _label_head(shape: ModelShape, context: BuildContext, embedding: Embedding) -> nn.Module:
    """The head of a model that pools. Hugging Face's names: "score", with a bias where it classifies tokens."""
    hidden_size, count = shape.hidden_size, shape.num_labels
    if shape.head == "none":
        return NoHead("lm_head.weight", "score.*")
    if shape.label_tokens:
        tied = embedding if shape.tie_embeddings else None
        return TokenRowsHead(context, shape.vocab_size, hidden_size, shape.label_tokens, count, tied)
    if shape.head == "reward":
        return TwoStepHead(context, hidden_size, count, dense="score.0", activation="relu", out="score.2")
    return LinearHead(context, hidden_size, count, "score", bias=shape.head == "tokens")
