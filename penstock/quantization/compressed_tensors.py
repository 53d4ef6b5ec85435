"""Weights that a checkpoint of compressed-tensors holds in 8 or 4 bits (github.com/neuralmagic/compressed-tensors).

They are computed as our own of these sizes are. `config/quantization.py` says which schemes get here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import torch

from penstock.config.quantization import GROUPS
from penstock.config.shape import Quantization
from penstock.errors import StartError
from penstock.quantization.base import LinearLayer, LinearMethod, UnquantizedLinear
from penstock.quantization.int4 import Int4Linear
from penstock.quantization.int8 import Int8Linear
from penstock.quantization.slot import Slot


class Ignoring:
    """Which products a checkpoint left as they were.

    Args:
        names: their checkpoint names; "re:" begins a regular expression for the beginning of one.
    """

    def __init__(self, names: tuple[str, ...]):
        self._names = names

    def __call__(self, name: str) -> bool:
        return any(re.match(n[3:], name) if n.startswith("re:") else n == name for n in self._names)

    def choose(self, names: Iterable[str], method: LinearMethod) -> LinearMethod:
        """`method`, or plain weights if all these names are ignored.

        Raises:
            StartError: some are and some are not, but they are one product here.
        """
        ignored = {name: self(name) for name in names}
        if len(set(ignored.values())) > 1:
            both = ", ".join(ignored)
            raise StartError(f"the checkpoint quantizes some and ignores others of {both}; that is not supported.")
        return UnquantizedLinear() if any(ignored.values()) else method


class CompressedInt8(Int8Linear):
    """[N, K] of int8 and a scale for each row."""

    def __init__(self, quantization: Quantization):
        super().__init__(quantization)
        self._ignoring = Ignoring(quantization.ignore)

    def for_product(self, names: Iterable[str]) -> LinearMethod:
        return self._ignoring.choose(names, self)

    def for_head(self, name: str, tied: bool) -> LinearMethod:
        return UnquantizedLinear() if tied else self._ignoring.choose([name], self)

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        matrix, slots, first = layer.int_matrix, {}, 0
        for name, rows in layer.shards.items():
            slots[f"{name}.weight"] = RowsSlot((rows, matrix.k), torch.int8, first, matrix.put_numbers)
            slots[f"{name}.weight_scale"] = RowsSlot((rows, 1), layer.dtype, first, matrix.put_scales)
            first += rows
        return slots


class CompressedInt4(Int4Linear):
    """[N, K / 8] of int32, each holding eight numbers plus 8, the first in the lowest bits, and a scale per group.

    A scale for a whole row is repeated for each of its groups.
    """

    redundant_names = ("*.weight_shape", "*.weight_zero_point")

    def __init__(self, quantization: Quantization):
        super().__init__(Quantization(quantization.method, quantization.group or GROUPS[-1]))
        self._whole_rows = quantization.group == 0
        self._ignoring = Ignoring(quantization.ignore)

    def for_product(self, names: Iterable[str]) -> LinearMethod:
        return self._ignoring.choose(names, self)

    def for_head(self, name: str, tied: bool) -> LinearMethod:
        return UnquantizedLinear() if tied else self._ignoring.choose([name], self)

    def slots(self, layer: LinearLayer) -> Mapping[str, torch.Tensor | Slot]:
        matrix, slots, first = layer.int_matrix, {}, 0
        groups = 1 if self._whole_rows else matrix.groups

        def put_packed(first: int, packed_NW: torch.Tensor) -> None:
            matrix.put_numbers(first, unpack(packed_NW, matrix.k))

        def put_scales(first: int, scales_NG: torch.Tensor) -> None:
            matrix.put_scales(first, scales_NG.expand(-1, matrix.groups))

        for name, rows in layer.shards.items():
            slots[f"{name}.weight_packed"] = RowsSlot((rows, -(-matrix.k // 8)), torch.int32, first, put_packed)
            slots[f"{name}.weight_scale"] = RowsSlot((rows, groups), layer.dtype, first, put_scales)
            first += rows
        return slots


class RowsSlot(Slot):
    """Hands what a checkpoint holds for rows `first` and on of a matrix to `put`."""

    def __init__(
        self, shape: tuple[int, int], dtype: torch.dtype, first: int, put: Callable[[int, torch.Tensor], None]
    ):
        super().__init__(shape, dtype)
        self._first = first
        self._put = put

    def copy_(self, source: torch.Tensor) -> None:
        self._put(self._first, source)


def unpack(packed_NW: torch.Tensor, k: int) -> torch.Tensor:
    """int8 [N, k] from int32 words of eight 4-bit numbers plus 8."""
    bytes_NB = packed_NW.contiguous().view(torch.uint8)  # the machines it runs on put the lowest byte first
    return (torch.stack((bytes_NB & 15, bytes_NB >> 4), 2).flatten(1)[:, :k].view(torch.int8) - 8).contiguous()
