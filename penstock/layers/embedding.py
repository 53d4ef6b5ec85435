"""Token embedding, and the output heads that turn hidden states into logits."""

from __future__ import annotations

import torch
from torch import nn

from penstock.layers.context import BuildContext
from penstock.layers.linear import Linear
from penstock.ops.embedding import embedding
from penstock.ops.linear import RowPlan, linear, plan_rows


class Embedding(nn.Module):
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


class TiedHead(nn.Module):
    """Logits by the embedding's own table. A copy of it in the checkpoint is left unread."""

    def __init__(self, table: Embedding, name: str):
        super().__init__()
        self._table = (table,)  # in a tuple, so that torch does not count the table as this module's too
        self.redundant_names = (f"{name}.weight",)
        self.row_plan = RowPlan()

    def finish_loading(self) -> None:
        self.row_plan = plan_rows(self._table[0].weight)

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        return linear(hidden_SH, self._table[0].weight, plan=self.row_plan).float()


class Head(nn.Module):
    """Logits by a matrix of their own."""

    def __init__(self, context: BuildContext, hidden_size: int, vocab_size: int, name: str):
        super().__init__()
        self.projection = Linear(context, hidden_size, {name: vocab_size})

    def forward(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        logits_SV: torch.Tensor = self.projection(hidden_SH).float()
        return logits_SV
