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
from penstock.quantization.quantizing_slot import quantizing_slots
from penstock.quantization.slot import Slot


class Int8Linear(LinearMethod):
    """Every product, the head's included, in 8 bits."""

    def __init__(self, quantization: Quantization | None = None):
        pass

    def create_weights(self, layer: LinearLayer) -> None:
        n, k = layer.out_features, layer.in_features
        layer.int_matrix = new_int_matrix(n, k, 8, 0, torch.float32, layer.device, layer.batch_invariant)

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        return quantizing_int_slots(layer)

    def finish_loading(self, layer: LinearLayer) -> None:
        pass

    def apply(self, layer: LinearLayer, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        return layer.int_matrix.multiply(x_TK, bias_N, layer.out_dtype)

    def rows(self, layer: LinearLayer, ids_T: torch.Tensor) -> torch.Tensor:
        return layer.int_matrix.rows(ids_T, layer.dtype)


def quantizing_int_slots(layer: LinearLayer) -> dict[str, torch.Tensor | Slot]:
    """Slots that quantize a layer's weights into its `int_matrix`."""
    matrix: IntMatrix | NarrowMatrix = layer.int_matrix

    def quantize(rows_NK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if rows_NK.dtype is torch.float64:
            rows_NK = rows_NK.float()
        return quantize_weight(rows_NK, matrix.bits, matrix.group, matrix.scale_dtype)

    return quantizing_slots(layer, matrix, quantize)
