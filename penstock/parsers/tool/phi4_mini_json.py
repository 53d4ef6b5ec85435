"""Phi-4-mini: functools[{"name": ..., "arguments": {...}}, ...]."""

from __future__ import annotations

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import Script
from penstock.parsers.tool.json_calls import MarkedJsonParser


class Phi4MiniJsonToolParser(MarkedJsonParser):
    starts = ("functools",)

    def _block(self, marker: str) -> Script[bool]:
        if (yield from self.reader.peek()) != "[":
            raise NotACallError
        return (yield from super()._block(marker))
