"""Large zeroed tensors whose memory is taken page by page, when it is first written. torch.zeros writes all of it.

A KV pool is sized for the worst case and mostly unused: it must cost neither start-up time nor memory.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress

import torch

HUGE_PAGE = 2 << 20
SHARED = 32 << 20  # bytes of a mapping for tensors of up to half of that
ALIGNMENT = 4096


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
        pages, offset = _shared.take(num_bytes)
    else:
        pages, offset = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), 0
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(size), offset=offset).view(size)


def let_go_of_pages() -> None:
    """What is taken next shares no mapping with what was taken before, so that this one goes with its last tensor."""
    _shared.close()


class HugePages:
    """Places in mappings of huge pages. Small tensors follow each other in one, so that no part of a tensor lies in
    small pages and no page stays mostly empty; it is unmapped when the last of them is gone."""

    def __init__(self) -> None:
        self._pages: mmap.mmap | None = None
        self._used = 0

    def take(self, num_bytes: int) -> tuple[mmap.mmap, int]:
        """(mapping, offset in it) for a tensor."""
        num_bytes = -(-num_bytes // ALIGNMENT) * ALIGNMENT
        if num_bytes > SHARED // 2:
            return _map_huge(-(-num_bytes // HUGE_PAGE) * HUGE_PAGE), 0
        if self._pages is None or self._used + num_bytes > SHARED:
            self._pages, self._used = _map_huge(SHARED), 0
        offset = self._used
        self._used += num_bytes
        return self._pages, offset

    def close(self) -> None:
        """Put nothing more into the present mapping."""
        self._pages = None


def _map_huge(num_bytes: int) -> mmap.mmap:
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


_shared = HugePages()
