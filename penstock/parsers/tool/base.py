"""ToolParser: a model's text in, content and tool calls out, by one state machine for streams and whole answers.

Text that may begin a call is held until that is certain; then the call goes out as it comes. What is not a call is
content, its markers included.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from penstock.parsers.json_text import NotACallError
from penstock.parsers.text_parser import TextParser
from penstock.parsers.text_reader import NO_STOPS, Script, Stops
from penstock.parsers.tool_schemas import ToolSchemas


class CallForm(NamedTuple):
    """How a call is written, for a grammar: before + name as a JSON string + between + arguments as JSON + after.

    Attributes:
        separator: between calls.
        trigger: text with which a call begins in free text, which holds it nowhere else; "" if there is none.
    """

    before: str
    between: str
    after: str
    separator: str
    trigger: str = ""


class ToolParser(TextParser):
    """Parses one answer.

    Args:
        tools: the request's tools, as it gives them; their schemas tell the types of arguments in forms without types.

    Attributes:
        starts: texts with which a call begins.
        reasoning: name of the reasoning parser for the same form, if that form says what is reasoning. Then this
            parser tells reasoning too, and no other may come before it.
        call_form: None for forms that are no JSON. Forced calls are then plain JSON, see `parsers/forced.py`.
    """

    starts: ClassVar[tuple[str, ...]] = ()
    reasoning: ClassVar[str | None] = None
    call_form: ClassVar[CallForm | None] = None

    def __init__(self, tools: Sequence[Mapping[str, Any]] | None = None):
        self.tools = ToolSchemas(tools)
        super().__init__()

    def _start(self, name: str, call_id: str | None = None) -> None:
        """A call begins: there is no way back from here."""
        self.reader.release()
        self.out.start_call(name, call_id)


class MarkedToolParser(ToolParser):
    """For forms in which a marker precedes every call, or every list of calls.

    Attributes:
        ends: texts that close what a marker opened. One that comes late, after text that does not belong there, is
            dropped; one that closes nothing is content.
    """

    ends: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._starts = Stops(*cls.starts)
        cls._starts_and_ends = Stops(*cls.starts, *cls.ends)
        cls.markers = cls.markers or (*cls.starts, *cls.ends)

    _starts: ClassVar[Stops] = NO_STOPS
    _starts_and_ends: ClassVar[Stops] = NO_STOPS

    def _run(self) -> Script[None]:
        reader, out = self.reader, self.out
        is_open = False
        while True:
            stops = NO_STOPS if reader.tired else self._starts_and_ends if is_open else self._starts
            marker = yield from reader.until(stops, out.content)
            if not marker:
                return
            if marker not in self.starts:
                reader.skip(len(marker))
                is_open = False
                continue
            reader.mark()
            reader.skip(len(marker))
            try:
                is_open = not (yield from self._block(marker))
                reader.release()
            except NotACallError:
                reader.back()
                out.content(reader.skip(len(marker)))
            finally:
                out.end_call()

    @abstractmethod
    def _block(self, marker: str) -> Script[bool]:
        """Read what follows a marker; True if it was closed too.

        Raises:
            NotACallError: it holds no call. Only before the first event of one.
        """

    def _close(self, space: str = "") -> Script[bool]:
        """Read an end, if one follows; `space` was read before."""
        if self.ends:
            space += yield from self.reader.space()
            if (yield from self.reader.literal(*self.ends)):
                return True
        self.out.content(space)
        return not self.ends
