"""Cuts a tall elementwise job on a CPU into groups of whole rows that stay in its cache. It never changes bits."""

from __future__ import annotations

from collections.abc import Iterator

import torch

CACHE_ELEMENTS = 1 << 17  # half a MiB of float32: a few such temporaries fit the second-level cache


def row_chunks(rows: int, width: int, device: torch.device) -> Iterator[slice]:
    """Slices that cover 0..rows, each of about CACHE_ELEMENTS elements; all rows at once on a GPU."""
    step = max(1, CACHE_ELEMENTS // max(1, width)) if device.type == "cpu" else max(1, rows)
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))
