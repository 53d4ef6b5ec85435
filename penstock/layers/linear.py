"""Linear: one product fed by one or several checkpoint matrices, stacked along their outputs.

It loads itself: `slots` says which checkpoint name fills which part. How weights are stored is the LinearMethod's.
"""

from __future__ import annotations

import torch
from torch import nn

from penstock.layers.context import BuildContext
from penstock.ops.linear import RowPlan


class Linear(nn.Module):
    """y = x @ weight.T + bias.

    Args:
        shards: checkpoint name (without ".weight") -> output features, in stacking order; q, k and v are one product
            of three shards.
        bias: whether every shard has a bias.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    row_plan: RowPlan

    def __init__(self, context: BuildContext, in_features: int, shards: dict[str, int], bias: bool = False):
        super().__init__()
        self.empty = context.empty
        self.in_features = in_features
        self.shards = shards
        self.out_features = sum(shards.values())
        self.method = context.linear_method
        self.method.create_weights(self)
        self.register_buffer("bias", context.empty(self.out_features) if bias else None)

    def slots(self) -> dict[str, torch.Tensor]:
        """Checkpoint name -> the part of a tensor that it fills."""
        slots = self.method.slots(self)
        if self.bias is not None:
            parts = self.bias.split(list(self.shards.values()))
            slots |= {f"{name}.bias": part for name, part in zip(self.shards, parts, strict=True)}
        return slots

    def finish_loading(self) -> None:
        self.method.finish_loading(self)

    def forward(self, x_TK: torch.Tensor) -> torch.Tensor:
        return self.method.apply(self, x_TK, self.bias)
