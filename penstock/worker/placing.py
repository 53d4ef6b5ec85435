"""How a step's arrays get to the device: each as it is where that reads the host's memory, else all in one copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

Arrays = Sequence[npt.NDArray[np.generic]]
Place = Callable[[Arrays], list[torch.Tensor]]

_ALIGNED = 64  # bytes: each array begins at a multiple, as if it had been allocated by itself


def as_they_are(arrays: Arrays) -> list[torch.Tensor]:
    """Tensors over the arrays' own memory."""
    return [torch.from_numpy(array) for array in arrays]


class OneCopy:
    """Puts arrays, one behind the other, into one buffer that goes to the device as a whole.

    Args:
        copy_in: of the device.
    """

    def __init__(self, copy_in: Callable[[torch.Tensor], torch.Tensor]):
        self._copy_in = copy_in

    def __call__(self, arrays: Arrays) -> list[torch.Tensor]:
        starts, end = [], 0
        for array in arrays:
            starts.append(end)
            end += -(-array.nbytes // _ALIGNED) * _ALIGNED
        buffer = np.empty(end, np.uint8)
        for start, array in zip(starts, arrays, strict=True):
            buffer[start : start + array.nbytes].view(array.dtype)[:] = array.reshape(-1)
        there = self._copy_in(torch.from_numpy(buffer))
        tensors = []
        for start, array in zip(starts, arrays, strict=True):
            dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
            tensors.append(there[start : start + array.nbytes].view(dtype).view(array.shape))
        return tensors
