"""What is said when a device's memory is full: what was asked for, what is left of how much, and what to change."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import StartError
from penstock.platforms.base import Device
from penstock.worker.capacity import gib

TOO_LARGE_WEIGHTS = (
    "--quantization int8, int4 or fp8 makes weights smaller; other programs on the device may leave it; or take a "
    "smaller model."
)
TOO_LARGE_STEP = (
    "Smaller steps take less: --max-num-batched-tokens, --max-num-seqs; --quantization and --cpu-offload-gb make room."
)
TOO_LARGE_POOL = (
    "A smaller pool takes less: --gpu-memory-utilization, --kv-cache-memory-bytes, --num-gpu-blocks-override; so do "
    "--kv-cache-dtype fp8, and a shorter --max-model-len."
)


@contextmanager
def memory_needed(device: Device, what: str, advice: str) -> Iterator[None]:
    """Around work that takes much memory.

    Args:
        what: was going on, as words behind "while".
        advice: a sentence.

    Raises:
        StartError: the memory is full; the numbers, and the advice.
    """
    try:
        yield
    except Exception as e:  # what is not about memory is passed on
        if not is_full(device, e):
            raise
        raise StartError(explain(device, e, what, advice)) from e


def is_full(device: Device, error: BaseException) -> bool:
    """Whether this error says that memory is full, the device's or the host's."""
    return device.is_out_of_memory(error) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def explain(device: Device, error: BaseException, what: str, advice: str) -> str:
    """The sentences; what the allocator keeps for reuse is given back before the rest is counted."""
    asked = re.search(r"[Tt]ried to allocate ([\d.]+ [KMGT]?i?B)", str(error))
    device.give_back()
    free, total = device.memory()
    tried = f" {asked[1]} more were asked for;" if asked else ""
    return f"Out of memory while {what}:{tried} {gib(free)} of {gib(total)} are free. {advice}"
