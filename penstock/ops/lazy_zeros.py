"""Large zeroed tensors whose memory is taken page by page, when it is first written. torch.zeros writes all of it.

A KV pool is sized for the worst case and mostly unused: it must cost neither start-up time nor memory.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress

import torch

HUGE_PAGE = 2 << 20


def lazy_zeros(
    size: tuple[int, ...], dtype: torch.dtype, device: torch.device, huge_pages: bool = False
) -> torch.Tensor:
    """Zeros; on the CPU from an anonymous mapping, which is aligned to pages and reads as zero.

    Args:
        huge_pages: for what is read over and over, in runs of many pages: memory is then taken by huge pages.
    """
    num_bytes = math.prod(size) * dtype.itemsize
    if device.type != "cpu" or not num_bytes:
        return torch.zeros(size, dtype=dtype, device=device)
    # Private, not shared, so that huge pages apply. Unmapped when the tensor, which holds it, is gone.
    whole = num_bytes // HUGE_PAGE * HUGE_PAGE
    size_mapped = -(-num_bytes // HUGE_PAGE) * HUGE_PAGE if huge_pages and whole else num_bytes  # so Linux aligns it
    pages = mmap.mmap(-1, size_mapped, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if huge_pages and whole and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE, 0, whole)
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(size)).view(size)
