"""Slot: takes a checkpoint tensor that is not kept as it is, but converted, packed or quantized when it arrives.

To a loader it looks like the tensor it replaces, as far as a loader looks: shape, type and `copy_`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch


class Slot(ABC):
    """One place for one checkpoint tensor.

    Attributes:
        shape: what the checkpoint's tensor must have.
        dtype: its type; for a floating point type any other floating point type will do.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype):
        self.shape = torch.Size(shape)
        self.dtype = dtype

    @abstractmethod
    def copy_(self, source: torch.Tensor) -> object:
        """Take a tensor of this shape. It may be a view of a file: only to be read, and not to be kept."""

    def numel(self) -> int:
        return math.prod(self.shape)

    def dim(self) -> int:
        return len(self.shape)

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point
