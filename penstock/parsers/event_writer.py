"""EventWriter: collects a parser's events, joins neighbours, and knows which whitespace is only formatting.

White space next to a call, with no other text between them, is formatting and is dropped; other text is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.parsers.events import (
    ArgumentsDelta,
    ContentDelta,
    Event,
    ReasoningDelta,
    ToolCallEnd,
    ToolCallStart,
)

MakeId = Callable[[str, int], str]


class EventWriter:
    """Collects events until they are taken.

    Args:
        make_id: (name, index) -> id of a call whose form has none.
    """

    def __init__(self, make_id: MakeId):
        self._make_id = make_id
        self._events: list[Event] = []
        self._kind: type[Event] = ContentDelta
        self._pieces: list[str] = []
        self._space: list[str] = []
        self._spoken = False  # something besides white space since the beginning, or since the last call
        self._index = -1
        self._open = False

    @property
    def spoken(self) -> bool:
        """No white space is held back."""
        return self._spoken

    @property
    def calls(self) -> int:
        """How many calls have begun."""
        return self._index + 1

    def take(self) -> list[Event]:
        """What is new."""
        self._flush()
        events, self._events = self._events, []
        return events

    def content(self, text: str) -> None:
        if not self._spoken:
            if not text or text.isspace():
                self._space.append(text)
                return
            self._spoken = True
            if self._space:
                text = "".join(self._space) + text
                self._space = []
        self._write(ContentDelta, text)

    def reasoning(self, text: str) -> None:
        self._write(ReasoningDelta, text)

    def start_call(self, name: str, call_id: str | None = None) -> None:
        self._flush()
        self._space, self._spoken = [], False
        self._index += 1
        self._open = True
        self._events.append(ToolCallStart(self._index, call_id or self._make_id(name, self._index), name))

    def arguments(self, text: str) -> None:
        self._write(ArgumentsDelta, text)

    def end_call(self) -> None:
        if self._open:
            self._flush()
            self._open = False
            self._events.append(ToolCallEnd(self._index))

    def finish(self) -> None:
        """The answer is over: what it says was white space only, it says."""
        if not self.calls:
            self._write(ContentDelta, "".join(self._space))
        self._space = []

    def _write(self, kind: type[Event], text: str) -> None:
        if text:
            if kind is not self._kind:
                self._flush()
                self._kind = kind
            self._pieces.append(text)

    def _flush(self) -> None:
        if not self._pieces:
            return
        text = self._pieces[0] if len(self._pieces) == 1 else "".join(self._pieces)
        self._pieces = []
        if self._kind is ArgumentsDelta:
            self._events.append(ArgumentsDelta(self._index, text))
        elif self._kind is ReasoningDelta:
            self._events.append(ReasoningDelta(text))
        else:
            self._events.append(ContentDelta(text))
