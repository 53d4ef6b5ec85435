"""A progress bar while a model loads, on a terminal only; other outputs get the log's lines and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm


class LoadingBar:
    """A callback for progress that also draws a bar; used as a context manager, which removes the bar.

    Args:
        shown: False for no bar, even on a terminal.
        forward: called with every report: a word, and the share done, 0..1.
    """

    def __init__(self, shown: bool, forward: Callable[[str, float], None]):
        self._forward = forward
        self._bar = tqdm(
            total=1.0,
            disable=not (shown and sys.stderr.isatty()),
            leave=False,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}",
        )

    def __call__(self, what: str, share: float) -> None:
        self._forward(what, share)
        self._bar.set_description_str(what[:1].upper() + what[1:], refresh=False)
        self._bar.update(share - self._bar.n)

    def __enter__(self) -> LoadingBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.close()
