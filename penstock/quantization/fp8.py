"""Weights of 8-bit floating point numbers (e4m3) in the products inside the model; the head stays as it is.

`--quantization fp8` makes them from any checkpoint, with a scale for every output feature. Checkpoints hold them with a
scale for every output, for a whole matrix, or for every block of 128 by 128.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from penstock.config.shape import Quantization
from penstock.ops.fp8_matrix import FP8, Fp8Matrix, new_fp8_matrix, quantize_fp8
from penstock.quantization.base import LinearLayer, LinearMethod, UnquantizedLinear
from penstock.quantization.compressed_tensors import Ignoring, RowsSlot
from penstock.quantization.quantizing_slot import quantizing_slots
from penstock.quantization.slot import Slot

BLOCK = 128


class Fp8Linear(LinearMethod):
    """Made while loading."""

    _group = 0

    def __init__(self, quantization: Quantization):
        pass

    def for_head(self, name: str, tied: bool) -> LinearMethod:
        return UnquantizedLinear()

    def create_weights(self, layer: LinearLayer) -> None:
        n, k = layer.out_features, layer.in_features
        layer.fp8_matrix = new_fp8_matrix(n, k, self._group, layer.dtype, layer.device, layer.batch_invariant)

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        return quantizing_slots(layer, layer.fp8_matrix, quantize_fp8)

    def finish_loading(self, layer: LinearLayer) -> None:
        layer.fp8_matrix.finish(layer.bias)

    def apply(self, layer: LinearLayer, x_TK: torch.Tensor, bias_N: torch.Tensor | None) -> torch.Tensor:
        return layer.fp8_matrix.multiply(x_TK, bias_N, layer.out_dtype)

    def rows(self, layer: LinearLayer, ids_T: torch.Tensor) -> torch.Tensor:
        raise AssertionError("heads and embeddings are not of fp8")


class Fp8Checkpoint(Fp8Linear):
    """As a checkpoint holds them. Scales that it has for activations are not used: each token gets its own, if any."""

    redundant_names = ("*.input_scale",)

    def __init__(self, quantization: Quantization):
        self._scales = quantization.method.removeprefix("fp8-")
        self._group = BLOCK if self._scales == "block" else 0
        self._ignoring = Ignoring(quantization.ignore)

    def for_product(self, names: Iterable[str]) -> LinearMethod:
        return self._ignoring.choose(names, self)

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        matrix, first = layer.fp8_matrix, 0
        slots: dict[str, torch.Tensor | Slot] = {}
        for name, rows in layer.shards.items():
            slots[f"{name}.weight"] = RowsSlot((rows, matrix.k), FP8, first, matrix.put_numbers)
            slots |= self._scale_slot(name, matrix, first, rows)
            first += rows
        return slots

    def _scale_slot(self, name: str, matrix: Fp8Matrix, first: int, rows: int) -> dict[str, Slot]:
        if self._scales == "channel":
            return {f"{name}.weight_scale": RowsSlot((rows, 1), torch.float32, first, matrix.put_scales)}

        if self._scales == "tensor":

            def put_one(first: int, scale: torch.Tensor) -> None:
                matrix.put_scales(first, scale.float().view(1, 1).expand(rows, 1))

            return {f"{name}.weight_scale": RowsSlot((1, 1), torch.float32, first, put_one)}

        def put_blocks(first: int, scales: torch.Tensor) -> None:
            matrix.put_scales(first, scales.float().repeat_interleave(BLOCK, 0)[:rows])

        shape = (-(-rows // BLOCK), matrix.groups)
        return {f"{name}.weight_scale_inv": RowsSlot(shape, torch.float32, first, put_blocks)}
