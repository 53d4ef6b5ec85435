"""Large zeroed tensors whose memory is taken page by page, when it is first written. torch.zeros writes all of it.

A KV pool is sized for the worst case and mostly unused: it must cost neither start-up time nor memory.
"""

from __future__ import annotations

import math
import mmap

import torch


def lazy_zeros(size: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros; on the CPU from an anonymous mapping, which is aligned to pages and reads as zero."""
    num_bytes = math.prod(size) * dtype.itemsize
    if device.type != "cpu" or not num_bytes:
        return torch.zeros(size, dtype=dtype, device=device)
    # Private, not shared, so that huge pages apply. Unmapped when the tensor, which holds it, is gone.
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype).view(size)
