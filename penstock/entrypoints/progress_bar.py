"""The bar that offline generation shows: how many prompts are done, and the speeds so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm

from penstock.engine.request_state import OpenRequest

Progress = bool | Callable[..., Any]


class ProgressBar:
    """tqdm, something else that is called like it, or nothing.

    Args:
        total: prompts.
        use_tqdm: whether to show it, or what to call instead of tqdm.
    """

    def __init__(self, total: int, use_tqdm: Progress):
        make = use_tqdm if callable(use_tqdm) else tqdm
        self._bar = make(total=total, desc="Processed prompts", dynamic_ncols=True) if use_tqdm else None
        self._start = time.monotonic()
        self._inputs = self._outputs = 0
        if self._bar is not None:
            self._show()

    def add(self, request: OpenRequest) -> None:
        """A request is done."""
        if self._bar is None:
            return
        self._inputs += len(request.prompt_token_ids) * request.num_returned
        self._outputs += sum(a.num_tokens for a in request.answers)
        self._show()
        self._bar.update(1)

    def add_plain(self, count: int) -> None:
        """So many prompts are done; speeds are not known."""
        if self._bar is not None:
            self._bar.update(count)

    def _show(self) -> None:
        assert self._bar is not None
        seconds = max(time.monotonic() - self._start, 1e-9)
        self._bar.set_postfix_str(
            f"est. speed input: {self._inputs / seconds:.2f} toks/s, output: {self._outputs / seconds:.2f} toks/s",
            refresh=False,
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
