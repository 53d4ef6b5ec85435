"""LinearMethod: how a product's weights are stored, loaded and applied. One file per method beside this one.

A method knows one layer at a time: its sizes and its shards' checkpoint names, nothing of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from penstock.ops.linear import RowPlan, linear, plan_rows
from penstock.plugins import Registry

if TYPE_CHECKING:  # a protocol's own layer, for types only
    from penstock.layers.linear import Linear

METHODS = Registry("quantization method", {"none": "penstock.quantization.base:UnquantizedLinear"})


class LinearMethod(ABC):
    """Stateless; everything is kept on the layer."""

    @abstractmethod
    def create_weights(self, layer: Linear) -> None:
        """Give the layer its tensors, uninitialized."""

    @abstractmethod
    def slots(self, layer: Linear) -> dict[str, torch.Tensor]:
        """Checkpoint name -> the (part of a) tensor it fills."""

    @abstractmethod
    def finish_loading(self, layer: Linear) -> None:
        """Called once after all slots are filled: repack, drop, choose kernels."""

    @abstractmethod
    def apply(self, layer: Linear, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        """x @ weight.T + bias: [T, N]. A row's bits must not depend on T."""


class UnquantizedLinear(LinearMethod):
    """Weights in the model's own type, one [N, K] matrix per layer."""

    def __init__(self) -> None:
        self._plans: dict[tuple[int, int, bool, torch.dtype, int], RowPlan] = {}  # layers of one shape share a probe

    def create_weights(self, layer: Linear) -> None:
        layer.register_buffer("weight", layer.context.empty(layer.out_features, layer.in_features))

    def slots(self, layer: Linear) -> dict[str, torch.Tensor]:
        parts = layer.weight.split(list(layer.shards.values()))
        return {f"{name}.weight": part for name, part in zip(layer.shards, parts, strict=True)}

    def finish_loading(self, layer: Linear) -> None:
        weight, bias = layer.weight, layer.bias
        key = (*weight.shape, bias is not None, weight.dtype, torch.get_num_threads())
        if key not in self._plans:
            self._plans[key] = plan_rows(weight, bias)
        layer.row_plan = self._plans[key]

    def apply(self, layer: Linear, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        return linear(x_TK, layer.weight, bias_N, layer.row_plan)
