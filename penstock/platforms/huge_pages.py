"""Memory in huge pages, for weights and for keys and values; that of weights may be touched before they arrive.

Getting memory can take longer than filling it: a virtual machine's host may give no more than half a GiB in a second.
That is why memory is reserved before torch is imported.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HUGE_PAGE = 2 << 20
SHARED = 32 << 20  # bytes of a mapping for tensors of up to half of that
ALIGNMENT = 4096


class HugePages:
    """Places in mappings of huge pages. Small tensors follow each other in one, so that no part of a tensor lies in
    small pages and no page stays mostly empty; it is unmapped when the last of them is gone."""

    def __init__(self) -> None:
        self._pages: mmap.mmap | None = None
        self._used = 0
        self._reserved: Reserved | None = None
        self._lock = threading.Lock()  # two engines of one process may load at a time

    @contextmanager
    def reserved(self, num_bytes: int) -> Iterator[None]:
        """Meanwhile another thread gets memory ready for so many bytes of tensors. What was not taken at the end is
        given back."""
        with self._lock:
            mine = None
            if self._reserved is None and num_bytes >= SHARED:
                mine = self._reserved = Reserved(-(-num_bytes // HUGE_PAGE) * HUGE_PAGE)
        try:
            yield
        finally:
            if mine is not None:
                with self._lock:
                    self._reserved = None
                mine.settle()

    def close(self) -> None:
        """Put nothing more into the present mapping."""
        with self._lock:
            self._pages = None

    def take(self, num_bytes: int) -> tuple[mmap.mmap, int]:
        """(mapping, offset in it) for a tensor; zeros."""
        num_bytes = -(-num_bytes // ALIGNMENT) * ALIGNMENT
        with self._lock:
            offset = None if self._reserved is None else self._reserved.take(num_bytes)
            if self._reserved is not None and offset is not None:
                return self._reserved.pages, offset
            if num_bytes > SHARED // 2:
                return map_huge(-(-num_bytes // HUGE_PAGE) * HUGE_PAGE), 0
            if self._pages is None or self._used + num_bytes > SHARED:
                self._pages, self._used = map_huge(SHARED), 0
            offset = self._used
            self._used += num_bytes
            return self._pages, offset


class Reserved:
    """One mapping, handed out from its beginning. A thread touches it in that order until the first tensor comes:
    from then on those who write to tensors are enough."""

    def __init__(self, num_bytes: int) -> None:
        self.pages = map_huge(num_bytes)
        self._size = num_bytes
        self._used = 0
        self._over = False
        self._thread = threading.Thread(target=self._touch, name="weight-memory", daemon=True)
        self._thread.start()

    def take(self, num_bytes: int) -> int | None:
        """The offset for so many bytes; None if they are not left."""
        self._stop()
        if self._used + num_bytes > self._size:
            return None
        self._used += num_bytes
        return self._used - num_bytes

    def settle(self) -> None:
        """Nothing is touched any more, and the rest is given back."""
        self._stop()
        first = -(-self._used // HUGE_PAGE) * HUGE_PAGE
        if first < self._size:
            self.pages.madvise(mmap.MADV_DONTNEED, first, self._size - first)

    def _stop(self) -> None:
        self._over = True
        self._thread.join()

    def _touch(self) -> None:
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        # Page by page: what takes many at once (MADV_POPULATE_WRITE) keeps other threads from mapping anything
        # meanwhile, and importing torch maps much.
        for offset in range(0, self._size, HUGE_PAGE):
            if self._over:
                return
            ctypes.memset(address + offset, 0, 1)  # without Python's lock


def map_huge(num_bytes: int) -> mmap.mmap:
    """Zeros, private, so that huge pages apply."""
    pages = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


huge_pages = HugePages()
