"""Granite 3.2: "Here is my thought process:" reasoning "Here is my response:" content; without the first, content."""

from __future__ import annotations

from penstock.parsers.reasoning.base import ReasoningParser
from penstock.parsers.text_reader import Script, Stops

_STARTS = ("Here is my thought process:", "Here's my thought process:")
_ENDS = Stops("Here is my response:", "Here's my response:")


class GraniteReasoningParser(ReasoningParser):
    start = _STARTS[0]
    end = _ENDS.texts[0]

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        space = yield from reader.space()
        if (yield from reader.literal(*_STARTS)):
            self.thinking = True
            found = yield from reader.until(_ENDS, out.reasoning)
            self.thinking = False
            reader.skip(len(found))
        else:
            out.content(space)
        yield from self._rest_is_content()
