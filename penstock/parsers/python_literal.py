"""Python literals -> JSON, by a reader of our own: nothing is evaluated, and depth and time are bounded.

More lenient than Python where models are careless: true, false and null, line breaks in strings.
"""

from __future__ import annotations

import json
import re

_MAX_DEPTH = 64
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[-+]?\s*(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?(?!\w)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_WORDS = {"True": "true", "true": "true", "False": "false", "false": "false", "None": "null", "null": "null"}
_OPEN_STRING = re.compile(r"""(?:[uU]|([rR]))?('''|\"\"\"|'|")""")
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|[\s\S])")
_ONE_CHAR = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "a": "\a",
    "\n": "",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_CLOSER = {"[": "]", "(": ")", "{": "}"}


class NotALiteralError(ValueError):
    """The text is not a Python literal, or nothing that JSON could say."""


def literal_to_json(text: str) -> str:
    """A literal (string, number, True, None, list, tuple, dict, set, however nested) as JSON text.

    Raises:
        NotALiteralError: it is none.
    """
    value, at = _value(text, _after_space(text, 0), 0)
    if _after_space(text, at) != len(text):
        raise NotALiteralError
    return value


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _value(text: str, at: int, depth: int) -> tuple[str, int]:
    """The value that begins at `at`, and where it ends."""
    if depth > _MAX_DEPTH:
        raise NotALiteralError
    if text[at : at + 1] in _CLOSER and at < len(text):
        return _container(text, at, depth)
    if _OPEN_STRING.match(text, at):
        return _strings(text, at)
    if number := _NUMBER.match(text, at):
        return _number(number[0]), number.end()
    if (word := _WORD.match(text, at)) and word[0] in _WORDS:
        return _WORDS[word[0]], word.end()
    raise NotALiteralError


def _number(text: str) -> str:
    text = re.sub(r"[\s_]", "", text).removeprefix("+")
    if re.search(r"[.eE]", text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise NotALiteralError
        return repr(number)
    sign, digits = ("-", text[1:]) if text[0] == "-" else ("", text)
    return sign + (digits.lstrip("0") or "0")  # not by int(): it refuses many digits


def _strings(text: str, at: int) -> tuple[str, int]:
    """String literals that follow one another are one string."""
    pieces = []
    while opening := _OPEN_STRING.match(text, at):
        quote = opening[2]
        body, at = _string_body(text, opening.end(), quote, raw=bool(opening[1]))
        pieces.append(body)
        next_at = _after_space(text, at)
        if not _OPEN_STRING.match(text, next_at):
            break
        at = next_at
    return json.dumps("".join(pieces), ensure_ascii=False), at


def _string_body(text: str, at: int, quote: str, raw: bool) -> tuple[str, int]:
    pieces = []
    special = re.compile(r"\\|" + quote)
    while True:
        match = special.search(text, at)
        if match is None:
            raise NotALiteralError
        pieces.append(text[at : match.start()])
        if match[0] == quote:
            return "".join(pieces), match.end()
        escape = _ESCAPE.match(text, match.start())
        if escape is None:
            raise NotALiteralError
        pieces.append(escape[0][:2] if raw else _unescaped(escape[0]))
        at = match.start() + 2 if raw else escape.end()


def _unescaped(escape: str) -> str:
    kind = escape[1]
    if kind in "xuU" and len(escape) > 2:
        code = int(escape[2:], 16)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"
    if kind in "01234567":
        return chr(int(escape[1:], 8))
    return _ONE_CHAR.get(kind, escape)


def _container(text: str, at: int, depth: int) -> tuple[str, int]:
    closer = _CLOSER[text[at]]
    items: list[str] = []
    is_dict: bool | None = None
    commas = 0
    at = _after_space(text, at + 1)
    while text[at : at + 1] != closer:
        item, at = _value(text, at, depth + 1)
        at = _after_space(text, at)
        with_colon = closer == "}" and text[at : at + 1] == ":"
        if is_dict is None:
            is_dict = with_colon
        if with_colon != is_dict:
            raise NotALiteralError
        if with_colon:
            value, at = _value(text, _after_space(text, at + 1), depth + 1)
            key = item if item[0] == '"' else json.dumps(item)
            item = f"{key}: {value}"
            at = _after_space(text, at)
        items.append(item)
        if text[at : at + 1] == ",":
            commas += 1
            at = _after_space(text, at + 1)
        elif text[at : at + 1] != closer:
            raise NotALiteralError
    if closer == ")" and len(items) == 1 and not commas:
        return items[0], at + 1
    body = ", ".join(items)
    return ("{" + body + "}" if closer == "}" and is_dict is not False else "[" + body + "]"), at + 1
