"""Calls that are JSON objects with a name and arguments, one or several, in a list or not, after a marker.

The name goes out when it is read, the arguments as they come. Any order of members, other members, a missing or
superfluous bracket, arguments inside a string: all are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import ClassVar

from penstock.parsers.event_writer import EventWriter
from penstock.parsers.json_text import NotACallError, decoded, json_string, pass_value
from penstock.parsers.text_reader import NO_STOPS, Script, Sink, Stops, TextReader
from penstock.parsers.tool.base import MarkedToolParser

ARGUMENTS = ("arguments", "parameters")
# Members that models put into a call besides; with an uncertain call, others tell that it is none.
_USUAL = ("type", "id", "function", *ARGUMENTS)
_CLOSERS = re.compile(r"[\]}]*")
_BETWEEN_MEMBERS = re.compile(r"[\s,]*")


class JsonCalls:
    """Reads calls that are JSON objects.

    Args:
        start: begins a call, after which its object is read to the end whatever it holds.
        ends: texts that end a call even if brackets are open.
        accepts: None where it is certain that there are calls; else which names are tools, where an object is a call
            only if its name is one and it has arguments.
    """

    def __init__(
        self,
        reader: TextReader,
        out: EventWriter,
        start: Callable[[str], None],
        ends: Stops = NO_STOPS,
        accepts: Callable[[str], bool] | None = None,
    ):
        self._reader = reader
        self._out = out
        self._start = start
        self._ends = ends
        self._accepts = accepts

    def several(self) -> Script[str]:
        """Read a list of calls, or calls one after another, to the last of them.

        Returns:
            White space that was read after it.

        Raises:
            NotACallError: the first is none.
        """
        reader = self._reader
        yield from reader.space()
        in_list = yield from reader.literal("[")
        after = yield from reader.space()
        made = 0
        while (yield from reader.peek()) == "{":
            if made:
                reader.mark()
            try:
                yield from self.one()
            except NotACallError:
                if not made:
                    raise
                reader.back()
                return ""
            made += 1
            after = yield from reader.space()
            if comma := (yield from reader.literal(",", ";")):
                more = yield from reader.space()
                if not in_list and (yield from reader.peek()) != "{":
                    self._out.content(after + comma + more)
                    return ""
        if not made:
            raise NotACallError
        while (in_list or self._ends) and (yield from reader.matching(_CLOSERS)):
            after = yield from reader.space()
        return after

    def one(self) -> Script[None]:
        """Read one call, from its brace.

        Raises:
            NotACallError: it is none.
        """
        reader, out = self._reader, self._out
        reader.skip(1)
        name: str | None = None
        arguments: list[str] | None = None
        started = False
        while True:
            key = yield from self._key(started)
            if key is None:
                break
            if key == "name" and name is None:
                name = yield from self._name()
                started = self._accepts is None or arguments is not None
                if started:
                    self._start(name)
            elif key in ARGUMENTS and arguments is None:
                if name is not None and not started:
                    started = True
                    self._start(name)
                arguments = []
                yield from self._arguments(out.arguments if started else arguments.append)
            elif self._accepts is not None and not started and key not in _USUAL:
                raise NotACallError
            else:
                yield from pass_value(reader, _nowhere, self._ends)
            if started and arguments:
                out.arguments("".join(arguments))
                arguments = []
        if not started:
            raise NotACallError
        if arguments is None and not (reader.ended and reader.at == len(reader.text)):
            out.arguments("{}")
        out.end_call()

    def _key(self, started: bool) -> Script[str | None]:
        """Read the next member's name and the colon; None at the end of the object."""
        reader = self._reader
        yield from reader.matching(_BETWEEN_MEMBERS)
        head = yield from reader.peek()
        if head == "}":
            reader.skip(1)
            return None
        if head != '"':
            if started:
                return None
            raise NotACallError
        try:
            key = yield from json_string(reader)
            yield from reader.space()
            if not (yield from reader.literal(":")):
                raise NotACallError
        except NotACallError:
            if started:
                return None
            raise
        yield from reader.space()
        return key

    def _name(self) -> Script[str]:
        if (yield from self._reader.peek()) != '"':
            raise NotACallError
        name = yield from json_string(self._reader)
        if not name or (self._accepts is not None and not self._accepts(name)):
            raise NotACallError
        return name

    def _arguments(self, sink: Sink) -> Script[None]:
        reader = self._reader
        head = yield from reader.peek()
        if head == "":
            return
        if head in ("{", "["):
            yield from pass_value(reader, sink, self._ends)
            return
        raw: list[str] = []
        whole = yield from pass_value(reader, raw.append, self._ends)
        text = "".join(raw)
        if head == '"' and whole:
            inner = decoded(text)
            sink(inner if _is_object(inner) else text)
        else:
            sink("{}" if text in ("null", "") else text)


def _nowhere(text: str) -> None:
    """Takes what nobody needs."""


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


class MarkedJsonParser(MarkedToolParser):
    """For forms in which JSON calls follow a marker: a form states `starts` and `ends`."""

    _json_ends: ClassVar[Stops] = NO_STOPS

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._json_ends = Stops(*cls.ends, *cls.starts)

    def _block(self, marker: str) -> Script[bool]:
        space = yield from JsonCalls(self.reader, self.out, self._start, self._json_ends).several()
        return (yield from self._close(space))
