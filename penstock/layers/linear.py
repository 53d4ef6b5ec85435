"""Linear: one product fed by one or several checkpoint matrices, stacked along their outputs.

It loads itself: `slots` says which checkpoint name fills which part. How weights are stored is the LinearMethod's.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from penstock.layers.context import BuildContext
from penstock.layers.module import Module
from penstock.ops.fp8_matrix import Fp8Matrix
from penstock.ops.int_matrix import IntMatrix
from penstock.ops.matrix import Matrix
from penstock.ops.narrow_matrix import NarrowMatrix
from penstock.quantization.base import LinearMethod
from penstock.quantization.slot import Slot


class Linear(Module):
    """y = x @ weight.T + bias.

    Args:
        shards: checkpoint name (without ".weight") -> output features, in stacking order; q, k and v are one product
            of three shards.
        bias: whether every shard has a bias.
        method: how the weight is stored, if not as the context says for products inside the model.
        out_dtype: type of the result, if not the model's.
    """

    matrix: Matrix  # this or one of the next, as the method keeps the weight
    int_matrix: IntMatrix | NarrowMatrix
    fp8_matrix: Fp8Matrix
    bias: torch.Tensor | None

    def __init__(
        self,
        context: BuildContext,
        in_features: int,
        shards: dict[str, int],
        bias: bool = False,
        method: LinearMethod | None = None,
        out_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.dtype, self.device = context.dtype, context.device
        self.out_dtype = out_dtype or context.dtype
        self.empty = context.empty
        self.batch_invariant = context.batch_invariant
        self.in_features = in_features
        self.shards = shards
        self.out_features = sum(shards.values())
        self.method = method or context.linear_method.for_product(shards)
        self.redundant_names = self.method.redundant_names
        self.method.create_weights(self)
        self.register_buffer("bias", context.empty(self.out_features) if bias else None)

    def slots(self) -> Mapping[str, torch.Tensor | Slot]:
        """Checkpoint name -> the part of a tensor that it fills, or the slot that takes it."""
        slots = dict(self.method.slots(self))
        if self.bias is not None:
            parts = self.bias.split(list(self.shards.values()))
            slots |= {f"{name}.bias": part for name, part in zip(self.shards, parts, strict=True)}
        return slots

    def finish_loading(self) -> None:
        self.method.finish_loading(self)

    def forward(self, x_TK: torch.Tensor) -> torch.Tensor:
        return self.method.apply(self, x_TK, self.bias)

    def rows(self, ids_T: torch.Tensor) -> torch.Tensor:
        """Rows of the weight, [T, in_features]."""
        return self.method.rows(self, ids_T)
