"""Reads JSON as a model writes it: passed on as it comes, repaired where it can be.

A value's end is found by its brackets and quotes. What a strict reader would refuse and a model often does is put right
on the way: bare line breaks and unknown escapes in strings, brackets that are missing where the call ends.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

from penstock.parsers.text_reader import NO_STOPS, Script, Sink, Stops, TextReader

_CLOSER = {"{": "}", "[": "]"}
_SCALAR = re.compile(r"[-+.\w]*")
_PLAIN = re.compile(r'(?:[^"\\\x00-\x1f]++|\\["\\/bfnrt])*+')
_UNICODE_ESCAPE = re.compile(r"\\u[0-9a-fA-F]{4}")


class NotACallError(Exception):
    """What was read as a call is none. Caught by the parser that reads it, always."""


def json_string(reader: TextReader) -> Script[str]:
    """Read a string, from its quote, and decode it.

    Raises:
        NotACallError: the text ended inside it.
    """
    raw: list[str] = []
    if not (yield from pass_string(reader, raw.append)):
        raise NotACallError
    return decoded("".join(raw))


def decoded(literal: str) -> str:
    """The text of a string literal that `pass_string` passed."""
    text = json.loads(literal)
    assert isinstance(text, str)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if "\\u" in literal else text


def pass_value(reader: TextReader, sink: Sink, ends: Stops = NO_STOPS) -> Script[bool]:
    """Read one value and pass it on as it comes; a value that is not JSON at all passes nothing.

    Args:
        ends: texts that end it, outside of strings; brackets still open are then closed.

    Returns:
        False if the text ended inside it.
    """
    head = yield from reader.peek()
    if head == '"':
        return (yield from pass_string(reader, sink))
    if head not in _CLOSER:
        sink((yield from reader.matching(_SCALAR)))
        return True
    outside = _outside(ends.first_chars)
    closers: list[str] = []
    while True:
        match = outside.match(reader.text, reader.at)
        assert match is not None
        if match.end() > reader.at:
            sink(reader.skip(match.end() - reader.at))
        head = yield from reader.peek()
        if not head:
            return False
        if head in ends.first_chars and (yield from reader.coming(*ends.texts)):
            break
        if head == '"':
            if not (yield from pass_string(reader, sink)):
                return False
            continue
        if head in _CLOSER:
            closers.append(_CLOSER[head])
        elif head in "}]":
            if closers[-1] != head:
                if head not in closers:
                    break
                while closers[-1] != head:
                    sink(closers.pop())
            closers.pop()
        sink(reader.skip(1))
        if not closers:
            return True
    sink("".join(reversed(closers)))
    return True


@lru_cache
def _outside(first_chars: frozenset[str]) -> re.Pattern[str]:
    """What needs no look, between brackets."""
    return re.compile("[^" + re.escape('"{}[]' + "".join(sorted(first_chars))) + "]*")


def pass_string(reader: TextReader, sink: Sink) -> Script[bool]:
    """Read a string and pass it on, quotes and all, as valid JSON; False if the text ended inside it."""
    sink(reader.skip(1))
    while True:
        match = _PLAIN.match(reader.text, reader.at)
        assert match is not None
        if match.end() > reader.at:
            sink(reader.skip(match.end() - reader.at))
        head = yield from reader.peek()
        if not head:
            return False
        if head == '"':
            sink(reader.skip(1))
            return True
        if head == "\\":
            yield from _pass_escape(reader, sink)
        elif head < " ":
            sink(json.dumps(reader.skip(1))[1:-1])


def _pass_escape(reader: TextReader, sink: Sink) -> Script[None]:
    pair = yield from reader.peek(2)
    if len(pair) < 2:
        reader.skip(1)  # the text ends here: nothing was escaped
    elif pair[1] == "u":
        escape = yield from reader.peek(6)
        if _UNICODE_ESCAPE.fullmatch(escape):
            sink(reader.skip(6))
        else:
            sink("\\" + reader.skip(1))
    elif pair[1] in '"\\/bfnrt':
        sink(reader.skip(2))
    elif pair[1] == "'":
        sink(reader.skip(2)[1])
    else:
        sink("\\" + reader.skip(1))
