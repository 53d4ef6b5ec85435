"""Token embedding, and the output heads that turn hidden states into logits."""

from __future__ import annotations

import torch

from penstock.layers.context import BuildContext
from penstock.layers.linear import Linear
from penstock.layers.module import Module
from penstock.ops.embedding import embedding


class Embedding(Module):
    """Token ids [T] -> [T, H]. `name` is the table's checkpoint name without ".weight"."""

    weight: torch.Tensor

    def __init__(self, context: BuildContext, vocab_size: int, hidden_size: int, name: str):
        super().__init__()
        self.name = name
        self.register_buffer("weight", context.empty(vocab_size, hidden_size))

    def slots(self) -> dict[str, torch.Tensor]:
        return {f"{self.name}.weight": self.weight}

    def forward(self, token_ids_T: torch.Tensor) -> torch.Tensor:
        return embedding(token_ids_T, self.weight)


class Head(Module):
    """Logits by a matrix of their own. `name` is its checkpoint name without ".weight"."""

    def __init__(self, context: BuildContext, hidden_size: int, vocab_size: int, name: str, *, tied: bool = False):
        super().__init__()
        method = context.linear_method.for_head(name, tied)
        self.projection = Linear(context, hidden_size, {name: vocab_size}, method=method, out_dtype=torch.float32)

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SV: torch.Tensor = self.projection(hidden_SH)
        return logits_SV


class TiedHead(Head):
    """A head whose matrix is the embedding, too. A copy of it under `unread` in the checkpoint is left unread."""

    def __init__(self, context: BuildContext, hidden_size: int, vocab_size: int, name: str, unread: str):
        super().__init__(context, hidden_size, vocab_size, name, tied=True)
        self.redundant_names = (f"{unread}.weight",)


class TiedEmbedding(Module):
    """Token ids [T] -> [T, H], read from the matrix of the head."""

    def __init__(self, head: TiedHead):
        super().__init__()
        self._projection = (head.projection,)  # in a tuple, so that torch does not count it as this module's too

    def forward(self, token_ids_T: torch.Tensor) -> torch.Tensor:
        return self._projection[0].rows(token_ids_T)
