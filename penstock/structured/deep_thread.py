"""DeepThread: one thread with a large stack, for compilers that recurse as deep as their input nests.

A chain of a thousand references in a schema overflowed the usual 8 MiB of a thread's stack, which ends the process; the
deepest input that `spec.py` lets pass needs a fraction of what this thread has. Only what is used takes memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

STACK_BYTES = 1 << 30

P = ParamSpec("P")
R = TypeVar("R")
_lock = threading.Lock()


class DeepThread:
    """Runs calls one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="grammar")

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As an executor's; the first call starts the thread."""
        with _lock:
            before = threading.stack_size(STACK_BYTES)
            try:
                return self._pool.submit(call, *args, **kwargs)
            finally:
                threading.stack_size(before)

    def close(self) -> None:
        """Drop what waits; what runs is left to end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
