"""Kimi K2: a section of calls, each with an id (functions.NAME:INDEX), a marker, and the arguments as JSON."""

from __future__ import annotations

import re
from typing import ClassVar

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import Script, Stops
from penstock.parsers.tool.base import MarkedToolParser
from penstock.parsers.tool.raw_arguments import pass_arguments

_CALL, _ARGUMENTS, _CALL_END = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
_SECTION_ENDS = ("<|tool_calls_section_end|>", "<|tool_call_section_end|>")
_ID = re.compile(r"[^<>{}]*")


class KimiK2ToolParser(MarkedToolParser):
    """Calls are read without their section too; the marks of a section are dropped wherever they are."""

    sections: ClassVar[tuple[str, ...]] = ("<|tool_calls_section_begin|>", "<|tool_call_section_begin|>")
    starts = (*sections, _CALL)
    ends = _SECTION_ENDS
    markers = (*starts, _ARGUMENTS, _CALL_END, *ends)
    _call_ends: ClassVar[Stops] = Stops(_CALL_END, *starts, *ends)

    @classmethod
    def new_id(cls, name: str, index: int) -> str:
        return f"functions.{name}:{index}"

    def _block(self, marker: str) -> Script[bool]:
        reader = self.reader
        if marker in self.sections:
            return False
        call_id = (yield from reader.matching(_ID)).strip()
        name = call_id.rpartition(":")[0] or call_id
        name = name.rpartition(".")[2] if name.startswith("functions.") else name
        if not name or not (yield from reader.literal(_ARGUMENTS)):
            raise NotACallError
        self._start(name, call_id)
        yield from pass_arguments(self, self._call_ends, _CALL_END)
        return (yield from self._close())
