"""InternLM 2: <|action_start|><|plugin|> {"name": ..., "parameters": {...}}<|action_end|>."""

from __future__ import annotations

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import Script
from penstock.parsers.tool.json_calls import MarkedJsonParser

_PLUGIN = "<|plugin|>"


class InternlmToolParser(MarkedJsonParser):
    """An action for something else than a plugin (the interpreter) is content."""

    starts = ("<|action_start|>",)
    ends = ("<|action_end|>",)
    markers = (*starts, _PLUGIN, *ends)

    def _block(self, marker: str) -> Script[bool]:
        yield from self.reader.space()
        if not (yield from self.reader.literal(_PLUGIN)):
            raise NotACallError
        return (yield from super()._block(marker))
