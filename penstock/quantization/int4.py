"""Weights of 4 bits with a scale for every group of input features; on a CPU activations of 8 bits, scaled likewise.

`--quantization int4` makes the weights from any checkpoint, one tensor at a time as it arrives. The head gets 8 bits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from penstock.config.shape import Quantization
from penstock.ops.int_matrix import new_int_matrix
from penstock.quantization.base import LinearLayer, LinearMethod
from penstock.quantization.int8 import Int8Linear, quantizing_int_slots
from penstock.quantization.slot import Slot


class Int4Linear(LinearMethod):
    """Products inside the model in 4 bits."""

    def __init__(self, quantization: Quantization):
        self._group = quantization.group

    def for_head(self, name: str, tied: bool) -> LinearMethod:
        return Int8Linear()

    def create_weights(self, layer: LinearLayer) -> None:
        n, k = layer.out_features, layer.in_features
        layer.int_matrix = new_int_matrix(n, k, 4, self._group, layer.dtype, layer.device, layer.batch_invariant)

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        return quantizing_int_slots(layer)

    def finish_loading(self, layer: LinearLayer) -> None:
        pass

    def apply(self, layer: LinearLayer, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        return layer.int_matrix.multiply(x_TK, bias_N, layer.out_dtype)

    def rows(self, layer: LinearLayer, ids_T: torch.Tensor) -> torch.Tensor:
        raise AssertionError("an embedding has 8 bits or more")
