"""The arguments of a call as an object, also where the answer was cut off in the middle of them.

Anthropic's clients read a stream of arguments in the same way: what is not complete at the end is left out.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'\s*(?:([{}\[\],:])|("(?:[^"\\]|\\.)*")|([-+.\w]+))', re.DOTALL)
_CLOSER = {"{": "}", "[": "]"}


def object_of(text: str) -> dict[str, Any]:
    """The object that `text` is, or begins; {} for what is no object at all."""
    for candidate in (text, _closed(text)):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        return value if isinstance(value, dict) else {}
    return {}


def _closed(text: str) -> str:
    """`text` up to the end of its last complete value, with what is open there closed."""
    stack: list[str] = []
    at = end = 0
    closers = ""
    expects_key = False
    while match := _TOKEN.match(text, at):
        mark, string, scalar = match.groups()
        at = match.end()
        whole_value = True
        if mark in _CLOSER:
            stack.append(mark)
            expects_key = mark == "{"
        elif mark in ("}", "]"):
            if not stack:
                break
            stack.pop()
            expects_key = False
        elif mark is not None:
            whole_value = False
            expects_key = mark == "," and stack[-1:] == ["{"]
        elif string is not None:
            whole_value = not expects_key
        else:
            whole_value = _is_scalar(scalar)
        if whole_value:
            end, closers = at, "".join(_CLOSER[m] for m in reversed(stack))
    return text[:end] + closers


def _is_scalar(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
