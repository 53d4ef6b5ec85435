"""Llama 3, Llama 4: the answer is {"name": ..., "parameters": {...}}, or several with semicolons between.

<|python_tag|> may come first. Without it, only an answer that begins with such an object is a call.
"""

from __future__ import annotations

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import NO_STOPS, Script, Stops
from penstock.parsers.tool.base import CallForm, ToolParser
from penstock.parsers.tool.json_calls import JsonCalls

_TAG = "<|python_tag|>"
_STOPS = Stops(_TAG)


class Llama3JsonToolParser(ToolParser):
    starts = (_TAG,)
    markers = (_TAG,)
    call_form = CallForm('{"name": ', ', "parameters": ', "}", "; ")

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        out.content((yield from reader.space()))
        if (yield from reader.peek()) in ("{", "["):
            yield from self._attempt("")
        while (yield from reader.until(NO_STOPS if reader.tired else _STOPS, out.content)):
            yield from self._attempt(_TAG)

    def _attempt(self, tag: str) -> Script[None]:
        reader, out = self.reader, self.out
        reader.mark()
        reader.skip(len(tag))
        accepts = None if tag else lambda name: name in self.tools or not self.tools
        try:
            out.content((yield from JsonCalls(reader, out, self._start, accepts=accepts).several()))
        except NotACallError:
            reader.back()
            out.content(reader.skip(max(1, len(tag))))
