"""Llama 3.2, ToolACE and others: [name(key=value, ...), ...] where an answer or a line begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_reader import NO_STOPS, Script, Stops
from penstock.parsers.tool.base import ToolParser
from penstock.parsers.tool.pythonic_calls import PythonicCalls

_LINE_BEGIN = "\n["


class PythonicToolParser(ToolParser):
    """Lists without a marker are calls if their names are tools of the request (or it does not say which there are).

    Attributes:
        end: closes what one of `starts` opened.
    """

    end: ClassVar[str] = ""
    _stops: ClassVar[Stops] = Stops(_LINE_BEGIN)
    _ends: ClassVar[Stops] = NO_STOPS

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._stops = Stops(_LINE_BEGIN, *cls.starts)
        cls._ends = Stops(cls.end, *cls.starts)
        cls.markers = (*cls.starts, cls.end)

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        out.content((yield from reader.space()))
        if (yield from reader.peek()) == "[":
            yield from self._attempt("")
        while True:
            found = yield from reader.until(NO_STOPS if reader.tired else self._stops, out.content)
            if not found:
                return
            if found == _LINE_BEGIN:
                out.content(reader.skip(1))
                found = ""
            yield from self._attempt(found)

    def _attempt(self, marker: str) -> Script[None]:
        """Read calls after a marker, or a list of calls; what is none is content."""
        reader, out = self.reader, self.out
        reader.mark()
        reader.skip(len(marker))
        try:
            yield from self._calls(sure=bool(marker))
        except NotACallError:
            reader.back()
            out.content(reader.skip(max(1, len(marker))))
        else:
            if marker:
                yield from self._close()
        finally:
            out.end_call()

    def _calls(self, sure: bool) -> Script[None]:
        if sure:
            yield from self.reader.space()
        yield from PythonicCalls(self.reader, self.out, self._start, self._accepts(sure), self._ends).several()

    def _close(self) -> Script[None]:
        """Read the end, if it follows."""
        space = yield from self.reader.space()
        if not (yield from self.reader.literal(self.end)):
            self.out.content(space)

    def _accepts(self, sure: bool) -> Callable[[str], bool]:
        return (lambda name: True) if sure or not self.tools else self.tools.__contains__
