"""GLM-4.5 to 5: <tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value></tool_call>, on lines or not."""

from __future__ import annotations

import json
import re
from typing import ClassVar

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import Script, Stops
from penstock.parsers.tool.xml_calls import TextValueParser

_KEY, _KEY_END, _VALUE, _VALUE_END = "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"
_END = "</tool_call>"
_NAME = re.compile(r"[^<>\s]*")


class Glm45ToolParser(TextValueParser):
    """A parameter that can only be a string goes out as it comes, others when complete, in the types of the schema."""

    starts = ("<tool_call>",)
    ends = (_END,)
    markers = (*starts, *ends, _KEY, _KEY_END, _VALUE, _VALUE_END)
    _call_ends: ClassVar[Stops] = Stops(_KEY, _END, *starts)
    _key_ends: ClassVar[Stops] = Stops(_KEY_END, _VALUE, _END)
    _value_ends: ClassVar[Stops] = Stops(_VALUE_END, _KEY, _END)

    def _block(self, marker: str) -> Script[bool]:
        reader, out = self.reader, self.out
        yield from reader.space()
        name = yield from reader.matching(_NAME)
        space = yield from reader.space()
        if not name or not ("\n" in space or (yield from reader.coming(_KEY, _END))):
            raise NotACallError
        self._start(name)
        before = "{"
        between: list[str] = []
        whole = True
        while (found := (yield from reader.until(self._call_ends, between.append))) == _KEY:
            reader.skip(len(found))
            whole = yield from self._argument(name, before)
            before = ", "
        if whole and (found or before == ", "):
            out.arguments("{}" if before == "{" else "}")
        out.end_call()
        text = "".join(between)
        if text.strip():
            out.content(text)
        return (yield from self._close())

    def _argument(self, tool: str, before: str) -> Script[bool]:
        """Read a key and its value, and write them; False if the text ended inside."""
        reader, out = self.reader, self.out
        pieces: list[str] = []
        if (yield from reader.until(self._key_ends, pieces.append)) == _KEY_END:
            reader.skip(len(_KEY_END))
        key = "".join(pieces).strip()
        out.arguments(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
        yield from reader.space()
        yield from reader.literal(_VALUE)
        return (yield from self._text_value(self.tools.types(tool, key), self._value_ends, _VALUE_END))
