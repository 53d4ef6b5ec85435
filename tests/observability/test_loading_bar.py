"""The bar of a loading model: reports go on, and a bar is drawn on a terminal only."""

from __future__ import annotations

import io
import sys

import pytest

from penstock.observability.loading_bar import LoadingBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "shown", "drawn"),
    [(Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)],
)
def test_bar(stream: io.StringIO, shown: bool, drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    reports: list[tuple[str, float]] = []
    with LoadingBar(shown, lambda what, share: reports.append((what, share))) as bar:
        bar("building the model", 0.0)
        for share in (0.5, 1.0):
            bar("loading weights", share)
    assert reports == [("building the model", 0.0), ("loading weights", 0.5), ("loading weights", 1.0)]
    assert ("%|" in stream.getvalue()) == drawn
