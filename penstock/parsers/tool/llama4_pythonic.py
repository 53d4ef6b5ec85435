"""Llama 4: [name(key=value, ...), ...], between <|python_start|> and <|python_end|> or not; JSON calls are read too."""

from __future__ import annotations

from penstock.parsers.text_reader import Script
from penstock.parsers.tool.json_calls import JsonCalls
from penstock.parsers.tool.pythonic import PythonicToolParser


class Llama4PythonicToolParser(PythonicToolParser):
    starts = ("<|python_start|>",)
    end = "<|python_end|>"

    def _calls(self, sure: bool) -> Script[None]:
        if sure:
            yield from self.reader.space()
        if sure and (yield from self.reader.peek()) == "{":
            self.out.content((yield from JsonCalls(self.reader, self.out, self._start, self._ends).several()))
        else:
            yield from super()._calls(sure)
