"""Arguments that stand as JSON between a call's name and the marker that ends the call."""

from __future__ import annotations

from penstock.parsers.json_text import pass_value
from penstock.parsers.text_parser import TextParser
from penstock.parsers.text_reader import Script, Stops


def pass_arguments(parser: TextParser, ends: Stops, *closing: str) -> Script[None]:
    """Read arguments and the call's end, and write them; what follows the JSON before the end becomes content.

    Args:
        ends: what may end a call. Of these, one of `closing` belongs to it, and is read.
    """
    reader, out = parser.reader, parser.out
    yield from reader.space()
    head = yield from reader.peek()
    if head and head in "{[":
        yield from pass_value(reader, out.arguments, ends)
    elif head:
        raw: list[str] = []
        if (yield from reader.until(ends, raw.append)) or raw:
            out.arguments("".join(raw).strip() or "{}")
    out.end_call()
    rest: list[str] = []
    found = yield from reader.until(ends, rest.append)
    if found in closing:
        reader.skip(len(found))
    text = "".join(rest)
    if text.strip(" \t\r\n`"):
        out.content(text)
