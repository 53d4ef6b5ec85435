"""Mistral: [TOOL_CALLS] and a JSON list of calls, or (later models) [TOOL_CALLS]name[ARGS]{...}, one after another."""

from __future__ import annotations

import re
import secrets
import string

from penstock.parsers.json_text import NotACallError, pass_value
from penstock.parsers.text_reader import Script
from penstock.parsers.tool.json_calls import MarkedJsonParser

_ALPHANUMERICS = string.ascii_letters + string.digits
_ID_CHARS = 9  # the templates of these models refuse other ids
_NAME_CHARS = re.compile(r"[^\[{\s]*")
_ID = re.compile(r"[A-Za-z0-9]*")
_CALL_ID, _ARGS = "[CALL_ID]", "[ARGS]"


class MistralToolParser(MarkedJsonParser):
    starts = ("[TOOL_CALLS]",)
    markers = (*starts, _CALL_ID, _ARGS)

    @classmethod
    def new_id(cls, name: str, index: int) -> str:
        return "".join(secrets.choice(_ALPHANUMERICS) for _ in range(_ID_CHARS))

    def _block(self, marker: str) -> Script[bool]:
        reader = self.reader
        yield from reader.space()
        if (yield from reader.peek()) in ("[", "{"):
            return (yield from super()._block(marker))
        name = yield from reader.matching(_NAME_CHARS)
        yield from reader.space()
        call_id: str | None = None
        if (yield from reader.literal(_CALL_ID)):
            call_id = yield from reader.matching(_ID)
        marked = yield from reader.literal(_ARGS)
        yield from reader.space()
        if not name or not (marked or (yield from reader.peek()) == "{"):
            raise NotACallError
        self._start(name, call_id)
        if (yield from reader.peek()) == "{":
            yield from pass_value(reader, self.out.arguments, self._json_ends)
        elif not reader.ended:
            self.out.arguments("{}")
        return True
