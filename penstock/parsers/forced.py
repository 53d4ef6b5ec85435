"""Parsers for calls that a grammar has forced: `tool_choice` "required", or a named tool. The text is plain JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.parsers.json_text import NotACallError, pass_value
from penstock.parsers.text_parser import TextParser
from penstock.parsers.text_reader import NO_STOPS, Script
from penstock.parsers.tool.json_calls import JsonCalls

MakeId = Callable[[str, int], str]


class RequiredCallsParser(TextParser):
    """Parses [{"name": ..., "parameters": {...}}, ...].

    Args:
        make_id: `new_id` of the model's own tool parser, whose templates may ask for ids of a certain form.
    """

    def __init__(self, make_id: MakeId | None = None):
        self._make_id = make_id or TextParser.new_id
        super().__init__()

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        out.content((yield from reader.space()))
        reader.mark()
        try:
            out.content((yield from JsonCalls(reader, out, self._start).several()))
        except NotACallError:
            reader.back()
        yield from reader.until(NO_STOPS, out.content)

    def _start(self, name: str) -> None:
        self.reader.release()
        self.out.start_call(name, self._make_id(name, self.out.calls))


class NamedCallParser(TextParser):
    """Parses the arguments of the one call; there is one even if the text is empty.

    Args:
        name: the tool's. make_id: as above.
    """

    def __init__(self, name: str, make_id: MakeId | None = None):
        self._name = name
        self._make_id = make_id or TextParser.new_id
        super().__init__()

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        yield from reader.space()
        out.start_call(self._name, self._make_id(self._name, 0))
        yield from pass_value(reader, out.arguments)
        out.end_call()
        yield from reader.until(NO_STOPS, out.content)


def forced_parser(tool_choice: Any, make_id: MakeId | None = None) -> TextParser | None:
    """The parser for a `tool_choice` that forces a call; None for one that does not."""
    if tool_choice == "required":
        return RequiredCallsParser(make_id)
    if isinstance(tool_choice, dict):
        function = tool_choice.get("function") or {}
        return NamedCallParser(str(function.get("name") or tool_choice.get("name")), make_id)
    return None
