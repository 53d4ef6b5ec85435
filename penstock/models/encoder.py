"""The encoder that BERT and its kin share; each states in its own file only what differs.

Tables of words, positions and segments; per layer attention in both directions and an MLP, a norm after each residual.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from penstock.attention.base import BoundAttention
from penstock.config.shape import ModelShape
from penstock.layers.activation import PLAIN_ACTIVATIONS
from penstock.layers.context import BuildContext
from penstock.layers.embedding import Embedding
from penstock.layers.label_head import LinearHead, NoHead
from penstock.layers.linear import Linear
from penstock.layers.module import Module
from penstock.layers.norm import LayerNorm
from penstock.models.interface import Model


@dataclass(frozen=True)
class Names:
    """Checkpoint names inside one layer."""

    layers: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    output: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    mlp_norm: str = "output.LayerNorm"


class Layer(Module):
    """[T, H] -> [T, H]."""

    def __init__(self, context: BuildContext, shape: ModelShape, names: Names, index: int):
        super().__init__()
        hidden, inner, name = shape.hidden_size, shape.intermediate_size, f"{names.layers}.{index}"
        self.index = index
        shards = {f"{name}.{part}": hidden for part in (names.query, names.key, names.value)}
        self.qkv = Linear(context, hidden, shards, bias=True)
        self.output = Linear(context, hidden, {f"{name}.{names.output}": hidden}, bias=True)
        self.attention_norm = LayerNorm(context, hidden, shape.norm_eps, f"{name}.{names.attention_norm}")
        self.up = Linear(context, hidden, {f"{name}.{names.up}": inner}, bias=True)
        self.activation = PLAIN_ACTIVATIONS.get(shape.activation)
        self.down = Linear(context, inner, {f"{name}.{names.down}": hidden}, bias=True)
        self.mlp_norm = LayerNorm(context, hidden, shape.norm_eps, f"{name}.{names.mlp_norm}")

    def forward(
        self, x_TH: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], attn: BoundAttention
    ) -> torch.Tensor:
        attended_TH = self.output(attn.attend(self.index, self.qkv(x_TH), angles))
        x_TH = self.attention_norm(attended_TH.add_(x_TH))
        out_TH: torch.Tensor = self.mlp_norm(self.down(self.activation(self.up(x_TH))).add_(x_TH))
        return out_TH


class Encoder(Model):
    """A stack of layers on three tables."""

    NAMES = Names()
    PREFIX = "bert"  # of names in checkpoints of classifiers
    UNREAD: tuple[str, ...] = ("pooler.*", "cls.*", "classifier.*", "lm_head.*")  # heads of other uses

    def __init__(self, shape: ModelShape, context: BuildContext):
        super().__init__()
        encoder, hidden = shape.encoder, shape.hidden_size
        assert encoder is not None
        self.renames = ((rf"^{self.PREFIX}\.", ""), (r"\.gamma$", ".weight"), (r"\.beta$", ".bias"))
        self.redundant_names: tuple[str, ...] = ("*embeddings.position_ids", "*embeddings.token_type_ids")
        self.words = Embedding(context, shape.vocab_size, hidden, "embeddings.word_embeddings")
        self.positions = Embedding(context, encoder.positions, hidden, "embeddings.position_embeddings")
        self.segments: Embedding | None = None
        if encoder.segments:
            self.segments = Embedding(context, encoder.segments, hidden, "embeddings.token_type_embeddings")
        self.norm = LayerNorm(context, hidden, shape.norm_eps, "embeddings.LayerNorm")
        self.layers = nn.ModuleList(Layer(context, shape, self.NAMES, i) for i in range(shape.num_layers))
        self.head = self._head(shape, context)
        self._first_position = encoder.first_position

    def _head(self, shape: ModelShape, context: BuildContext) -> Module:
        unread = tuple(f"{prefix}{name}" for name in self.UNREAD for prefix in ("", f"{self.PREFIX}."))
        if shape.head == "sequence":
            self.redundant_names += tuple(n for n in unread if "classifier" not in n and "pooler" not in n)
            return self.text_head(shape, context)
        if shape.head == "tokens":
            self.redundant_names += tuple(n for n in unread if "classifier" not in n)
            return LinearHead(context, shape.hidden_size, shape.num_labels, "classifier", bias=True)
        return NoHead(*unread)

    @staticmethod
    @abstractmethod
    def text_head(shape: ModelShape, context: BuildContext) -> Module:
        """The head that classifies a whole text."""

    def forward(
        self,
        token_ids_T: torch.Tensor,
        positions_T: torch.Tensor,
        attn: BoundAttention,
        wanted_S: torch.Tensor | None = None,
        segments_T: torch.Tensor | None = None,
    ) -> torch.Tensor:
        x_TH = self.words(token_ids_T)
        if self.segments is not None:
            x_TH += self.segments.weight[0] if segments_T is None else self.segments(segments_T)
        x_TH += self.positions(positions_T + self._first_position)
        x_TH = self.norm(x_TH)
        none_T0 = torch.empty(x_TH.shape[0], 0, device=x_TH.device)  # no angles: nothing is rotated
        for layer in self.layers:
            x_TH = layer(x_TH, (none_T0, none_T0), attn)
        out_SH: torch.Tensor = x_TH if wanted_S is None else x_TH[wanted_S]
        return out_SH

    def logits(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SN: torch.Tensor = self.head(hidden_SH)
        return logits_SN
