"""DeepSeek-V3, R1: a section of calls, each: type, separator, name, and the arguments in a fenced block of JSON."""

from __future__ import annotations

import re
from typing import ClassVar

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import Script, Stops
from penstock.parsers.tool.base import MarkedToolParser
from penstock.parsers.tool.raw_arguments import pass_arguments

_BAR, _SPACE = "\uff5c", "\u2581"


def _token(*words: str) -> str:
    return f"<{_BAR}{_SPACE.join(words)}{_BAR}>"


SECTION, SECTION_END = _token("tool", "calls", "begin"), _token("tool", "calls", "end")
CALL, CALL_END = _token("tool", "call", "begin"), _token("tool", "call", "end")
SEPARATOR = _token("tool", "sep")
WORD = re.compile(rf"[^<>{{}}\n{_BAR}]*")
_FENCE = "```"
_LANGUAGE = re.compile(r"[a-zA-Z]*")


class DeepseekV3ToolParser(MarkedToolParser):
    """Calls are read without their section too; the marks of a section are dropped wherever they are."""

    starts = (SECTION, CALL)
    ends = (SECTION_END,)
    markers = (*starts, SEPARATOR, CALL_END, *ends)
    _call_ends: ClassVar[Stops] = Stops(CALL_END, *starts, *ends)

    def _block(self, marker: str) -> Script[bool]:
        if marker == SECTION:
            return False
        name = yield from self._name()
        if not name:
            raise NotACallError
        self._start(name)
        yield from pass_arguments(self, self._call_ends, CALL_END)
        return (yield from self._close())

    def _name(self) -> Script[str]:
        """Read all that comes before the arguments; "" if it is not what it should be."""
        reader = self.reader
        kind = yield from reader.matching(WORD)
        if not kind.strip() or not (yield from reader.literal(SEPARATOR)):
            return ""
        name = yield from reader.matching(WORD)
        yield from reader.space()
        if (yield from reader.literal(_FENCE)):
            yield from reader.matching(_LANGUAGE)
        return name.strip()
