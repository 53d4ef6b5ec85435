"""Slots that quantize a checkpoint's weights, one tensor at a time as it arrives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from penstock.quantization.base import LinearLayer
from penstock.quantization.slot import Slot

Quantize = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
_ROWS_ON_DEVICE = 8192  # bounds the memory that quantizing a head takes beside the weights


class QuantizedMatrix(Protocol):
    """Where numbers and scales go: rows of them from `first` on."""

    k: int

    @property
    def device(self) -> torch.device: ...

    def put_numbers(self, first: int, numbers_NK: torch.Tensor) -> None: ...

    def put_scales(self, first: int, scales_NG: torch.Tensor) -> None: ...


class QuantizingSlot(Slot):
    """Takes rows of a weight and keeps them as numbers with scales, as `quantize` makes them of any rows."""

    def __init__(self, matrix: QuantizedMatrix, first: int, rows: int, dtype: torch.dtype, quantize: Quantize):
        super().__init__((rows, matrix.k), dtype)
        self._matrix = matrix
        self._first = first
        self._quantize = quantize

    def copy_(self, source: torch.Tensor) -> None:
        matrix, count = self._matrix, source.shape[0]
        at_once = count if matrix.device.type == "cpu" else _ROWS_ON_DEVICE
        for start in range(0, count, at_once):
            numbers_NK, scales_NG = self._quantize(source[start : start + at_once].to(matrix.device))
            matrix.put_numbers(self._first + start, numbers_NK)
            matrix.put_scales(self._first + start, scales_NG)


def quantizing_slots(layer: LinearLayer, matrix: QuantizedMatrix, quantize: Quantize) -> dict[str, torch.Tensor | Slot]:
    """One for the weight of each of a layer's shards, into its matrix."""
    slots: dict[str, torch.Tensor | Slot] = {}
    first = 0
    for name, rows in layer.shards.items():
        slots[f"{name}.weight"] = QuantizingSlot(matrix, first, rows, layer.dtype, quantize)
        first += rows
    return slots
