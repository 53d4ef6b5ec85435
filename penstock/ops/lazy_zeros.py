"""Large zeroed tensors whose memory is taken page by page, when it is first written. torch.zeros writes all of it.

A KV pool is sized for the worst case and mostly unused: it must cost no time at the start, and memory only as it is
used, but for what a server with nothing to do takes ahead (attention/packed.py). Weights are packed where they arrive.
"""

from __future__ import annotations

import math
import mmap

import torch

from penstock.platforms.huge_pages import huge_pages as memory


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
    if huge_pages:
        pages, offset = memory.take(num_bytes)
    else:
        pages, offset = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(size), offset=offset).view(size)


def let_go_of_pages() -> None:
    """What is taken next shares no mapping with what was taken before, so that this one goes with its last tensor."""
    memory.close()
