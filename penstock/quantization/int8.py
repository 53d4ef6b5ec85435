"""Weights of 8 bits with a scale for every output feature; on a CPU activations of 8 bits with a scale for every token.

`--quantization int8` makes the weights from any checkpoint, one tensor at a time as it arrives.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from penstock.config.shape import Quantization
from penstock.ops.int_matrix import IntMatrix, new_int_matrix, quantize_weight
from penstock.ops.narrow_matrix import NarrowMatrix
from penstock.quantization.base import LinearLayer, LinearMethod
from penstock.quantization.slot import Slot

_ROWS_ON_DEVICE = 8192  # bounds the memory that quantizing a head takes beside the weights


class Int8Linear(LinearMethod):
    """Every product, the head's included, in 8 bits."""

    def __init__(self, quantization: Quantization | None = None):
        pass

    def create_weights(self, layer: LinearLayer) -> None:
        n, k = layer.out_features, layer.in_features
        layer.int_matrix = new_int_matrix(n, k, 8, 0, torch.float32, layer.device, layer.batch_invariant)

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        return quantizing_slots(layer)

    def finish_loading(self, layer: LinearLayer) -> None:
        pass

    def apply(self, layer: LinearLayer, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        return layer.int_matrix.multiply(x_TK, bias_N, layer.out_dtype)

    def rows(self, layer: LinearLayer, ids_T: torch.Tensor) -> torch.Tensor:
        return layer.int_matrix.rows(ids_T, layer.dtype)


class QuantizingSlot(Slot):
    """Takes rows of a weight and keeps them as whole numbers with scales."""

    def __init__(self, matrix: IntMatrix | NarrowMatrix, first: int, rows: int, dtype: torch.dtype):
        super().__init__((rows, matrix.k), dtype)
        self._matrix = matrix
        self._first = first

    def copy_(self, source: torch.Tensor) -> None:
        matrix, count = self._matrix, source.shape[0]
        if source.dtype is torch.float64:
            source = source.float()
        at_once = count if matrix.device.type == "cpu" else _ROWS_ON_DEVICE
        for start in range(0, count, at_once):
            rows_NK = source[start : start + at_once].to(matrix.device)
            numbers_NK, scales_NG = quantize_weight(rows_NK, matrix.bits, matrix.group, matrix.scale_dtype)
            matrix.put_numbers(self._first + start, numbers_NK)
            matrix.put_scales(self._first + start, scales_NG)


def quantizing_slots(layer: LinearLayer) -> dict[str, torch.Tensor | Slot]:
    """Slots for the weights of a layer's shards that quantize them into its `int_matrix`."""
    slots: dict[str, torch.Tensor | Slot] = {}
    first = 0
    for name, rows in layer.shards.items():
        slots[f"{name}.weight"] = QuantizingSlot(layer.int_matrix, first, rows, layer.dtype)
        first += rows
    return slots
