"""Calls as tags: one around a call with its name, one around each parameter with its name, values as plain text.

Values get the types of the tool's schema. A parameter that can only be a string goes out as it comes, others when they
are complete.
"""

from __future__ import annotations

import json
import re
from typing import ClassVar

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import NO_STOPS, Script, Sink, Stops
from penstock.parsers.tool.base import MarkedToolParser
from penstock.parsers.tool_schemas import text_to_json

_STRING = frozenset({"string"})
NAME_CHARS = re.compile(r"[^<>\"\n]*")


class LineHolder:
    """A sink that keeps a line break back while it is the last character, for it may not belong to the value."""

    def __init__(self, sink: Sink):
        self._sink = sink
        self.held = ""

    def __call__(self, text: str) -> None:
        text = self.held + text
        self.held = "\n" if text.endswith("\n") else ""
        if len(text) > len(self.held):
            self._sink(text.removesuffix("\n"))

    def flush(self) -> None:
        self._sink(self.held)
        self.held = ""


class TextValueParser(MarkedToolParser):
    """For forms whose parameters have plain text as values."""

    def _text_value(self, types: frozenset[str], ends: Stops, end: str, wraps_lines: bool = False) -> Script[bool]:
        """Read a value and the tag that closes it, and write it in its type; False if the text ended inside it.

        Args:
            types: what the tool's schema allows.
            ends: tags that end it; `end` is its own, which is read, too.
            wraps_lines: it stands between two line breaks that are not part of it.
        """
        reader, out = self.reader, self.out
        raw: list[str] = []
        streams = types == _STRING
        if wraps_lines:
            yield from reader.literal("\n")
        if streams:
            out.arguments('"')
        sink = LineHolder(self._string_piece if streams else raw.append)
        found = yield from reader.until(ends, sink)
        if not (found and wraps_lines):
            sink.flush()
        if found == end:
            reader.skip(len(found))
        if streams:
            out.arguments('"' if found else "")
        elif found:
            out.arguments(text_to_json("".join(raw), types))
        else:
            out.arguments(json.dumps("".join(raw), ensure_ascii=False)[:-1])  # half a value: half a string
        return bool(found)

    def _string_piece(self, text: str) -> None:
        self.out.arguments(json.dumps(text, ensure_ascii=False)[1:-1])


class XmlToolParser(TextValueParser):
    """For forms with a wrapper (`starts`, `ends`), calls in it, and parameters in those.

    A call without its wrapper is read too. Missing closing tags are put up with. Text between the tags is content.

    Attributes:
        call: the tag before a call's name, what follows the name, the closing tag.
        parameter: the same for parameters.
        wraps_lines: a value stands between two line breaks that are not part of it.
    """

    call: ClassVar[tuple[str, str, str]]
    parameter: ClassVar[tuple[str, str, str]]
    wraps_lines: ClassVar[bool] = False
    _value_ends: ClassVar[Stops] = NO_STOPS
    _call_ends: ClassVar[Stops] = NO_STOPS

    def __init_subclass__(cls) -> None:
        wrapper = tuple(s for s in cls.starts if s != cls.call[0])
        cls.starts = (*wrapper, cls.call[0])
        cls.markers = (*wrapper, *cls.ends, *cls.call, *cls.parameter)
        super().__init_subclass__()
        cls._value_ends = Stops(cls.parameter[2], cls.parameter[0], cls.call[2], *cls.ends)
        cls._call_ends = Stops(cls.parameter[0], cls.call[2], cls.call[0], *wrapper, *cls.ends)

    def _block(self, marker: str) -> Script[bool]:
        reader, out = self.reader, self.out
        opening = self.call[0]
        if marker != opening:
            yield from reader.space()
            if not (yield from reader.literal(opening)):
                raise NotACallError
        yield from self._call()
        while True:
            space = yield from reader.space()
            if not (yield from reader.coming(opening)):
                return (yield from self._close(space))
            reader.mark()
            reader.skip(len(opening))
            try:
                yield from self._call()
            except NotACallError:
                reader.back()
                out.content(space + reader.skip(len(opening)))
                return False

    def _call(self) -> Script[None]:
        """Read a call, from its name on."""
        reader, out = self.reader, self.out
        name = (yield from reader.matching(NAME_CHARS)).strip()
        if not name or not (yield from reader.literal(self.call[1])):
            raise NotACallError
        self._start(name)
        before = "{"
        between: list[str] = []
        whole = True
        while (found := (yield from reader.until(self._call_ends, between.append))) == self.parameter[0]:
            reader.skip(len(found))
            key, types = yield from self._parameter(name)
            out.arguments(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            before = ", "
            whole = yield from self._text_value(types, self._value_ends, self.parameter[2], self.wraps_lines)
        if whole and (found or before == ", "):
            out.arguments("{}" if before == "{" else "}")
        out.end_call()
        if found == self.call[2]:
            reader.skip(len(found))
        text = "".join(between)
        if text.strip():
            out.content(text)

    def _parameter(self, tool: str) -> Script[tuple[str, frozenset[str]]]:
        """Read a parameter's name and the end of its tag; its name and types."""
        key = (yield from self.reader.matching(NAME_CHARS)).strip()
        yield from self.reader.literal(self.parameter[1])
        return key, self.tools.types(tool, key) or _STRING
