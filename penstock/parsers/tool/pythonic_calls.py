"""Calls in Python's syntax: name(key=literal, ...), in a list or not.

An argument goes out when it is complete, as JSON. What is not a literal (a bare word, an expression) becomes a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from penstock.parsers.event_writer import EventWriter
from penstock.parsers.json_text import NotACallError
from penstock.parsers.python_literal import NotALiteralError, literal_to_json
from penstock.parsers.text_reader import NO_STOPS, Script, Sink, Stops, TextReader

_NAME = re.compile(r"[\w.-]*")
_IDENTIFIER = re.compile(r"\w*")
_OPEN = {"(": ")", "[": "]", "{": "}"}
# What needs no look in a value, outside and inside of strings.
_PLAIN = re.compile(r"""[^"'()\[\]{},\\<]*""")
_IN_STRING = re.compile(r"""[^"'\\]*""")


class PythonicCalls:
    """Reads calls.

    Args:
        start: begins a call; it is certain then that it is one.
        accepts: whether a name can be a tool's.
        ends: texts that end a call even if brackets are open, outside of strings; each begins with "<".
    """

    def __init__(
        self,
        reader: TextReader,
        out: EventWriter,
        start: Callable[[str], None],
        accepts: Callable[[str], bool],
        ends: Stops = NO_STOPS,
    ):
        assert ends.first_chars <= {"<"}
        self._reader = reader
        self._out = out
        self._start = start
        self._accepts = accepts
        self._ends = ends

    def several(self) -> Script[None]:
        """Read one call, or a list of calls.

        Raises:
            NotACallError: the first is none.
        """
        reader = self._reader
        in_list = yield from reader.literal("[")
        yield from reader.space()
        yield from self.one()
        while in_list:
            reader.mark()
            yield from reader.space()
            if (yield from reader.literal(",")):
                yield from reader.space()
            if (yield from reader.literal("]")):
                reader.release()
                return
            try:
                yield from self.one()
            except NotACallError:
                reader.back()
                return

    def one(self) -> Script[None]:
        """Read one call.

        Raises:
            NotACallError: it is none.
        """
        reader, out = self._reader, self._out
        name = yield from reader.matching(_NAME)
        if not name or not self._accepts(name) or not (yield from reader.literal("(")):
            raise NotACallError
        before = "{"
        while True:
            yield from reader.space()
            if (yield from reader.literal(")")):
                break
            started = before != "{"
            if started:
                reader.mark()
            key = yield from self._key()
            if not key and not started:
                raise NotACallError
            if not key:
                reader.back()
                break
            if not started:
                self._start(name)
            reader.release()
            out.arguments(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            before = ", "
            raw: list[str] = []
            if not (yield from self._value(raw.append)):
                out.arguments(json.dumps("".join(raw), ensure_ascii=False)[:-1])  # half a value: half a string
                return
            out.arguments(_as_json("".join(raw).strip()))
            yield from reader.literal(",")
        if before == "{":
            self._start(name)
        out.arguments("{}" if before == "{" else "}")
        out.end_call()

    def _key(self) -> Script[str]:
        """Read `key=`; "" if something else comes."""
        reader = self._reader
        key = yield from reader.matching(_IDENTIFIER)
        yield from reader.space()
        sign = yield from reader.literal("==", "=")
        return key if sign == "=" else ""

    def _value(self, sink: Sink) -> Script[bool]:
        """Read to the comma or bracket that ends a value; False if the text ended before."""
        reader = self._reader
        closers: list[str] = []
        while True:
            sink((yield from reader.matching(_PLAIN)))
            head = yield from reader.peek()
            if not head:
                return False
            if head in "\"'":
                if not (yield from self._string(sink)):
                    return False
                continue
            if head == "<" and (yield from reader.coming(*self._ends.texts)):
                return True
            if head in _OPEN:
                closers.append(_OPEN[head])
            elif closers and head == closers[-1]:
                closers.pop()
            elif not closers and head in ",)]}":
                return True
            sink(reader.skip(1))

    def _string(self, sink: Sink) -> Script[bool]:
        reader = self._reader
        quote = yield from reader.literal('"""', "'''", '"', "'")
        sink(quote)
        if len(quote) == 1 and (yield from reader.literal(quote)):
            sink(quote)
            return True
        while True:
            sink((yield from reader.matching(_IN_STRING)))
            head = yield from reader.peek()
            if not head:
                return False
            if head == "\\":
                sink((yield from reader.peek(2)))
                reader.skip(min(2, len(reader.text) - reader.at))
            elif (yield from reader.literal(quote)):
                sink(quote)
                return True
            else:
                sink(reader.skip(1))


def _as_json(value: str) -> str:
    try:
        return literal_to_json(value)
    except NotALiteralError:
        return json.dumps(value, ensure_ascii=False)
