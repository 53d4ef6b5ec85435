"""Hunyuan A13B: <think>, reasoning, </think>, <answer>, content, </answer>, each on lines of their own."""

from __future__ import annotations

from penstock.parsers.reasoning.base import ReasoningParser
from penstock.parsers.text_reader import Script, Stops

_START, _ANSWER = "<think>\n", "\n<answer>\n"
_THOUGHT_ENDS = Stops("\n</think>")
_ANSWER_ENDS = Stops("\n</answer>")


class HunyuanA13bReasoningParser(ReasoningParser):
    start = "<think>"
    end = "</think>"

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        if (yield from reader.literal(_START)):
            self.thinking = True
            found = yield from reader.until(_THOUGHT_ENDS, out.reasoning)
            self.thinking = False
            reader.skip(len(found))
        if (yield from reader.literal(_ANSWER, _ANSWER[1:])):
            found = yield from reader.until(_ANSWER_ENDS, out.content)
            reader.skip(len(found))
        yield from self._rest_is_content()
