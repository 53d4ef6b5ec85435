"""TextParser: pieces of text in, events out. What tool parsers and reasoning parsers have in common."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from typing import ClassVar

from penstock.parsers.event_writer import EventWriter
from penstock.parsers.events import Event, Message, joined
from penstock.parsers.text_reader import NO_STOPS, Script, TextReader


class TextParser(ABC):
    """Parses one answer. A form is a generator (`_run`) that reads the text and writes events.

    It never fails, and it loses no text that a model says: what is not what the form knows is content. However the text
    is cut into pieces, the events make the same message.

    Attributes:
        markers: texts that must reach the parser. Where the tokenizer has one as a special token, that token must stay
            in the text, although special tokens are skipped otherwise.
        thinking: what was fed last is reasoning, as far as is known.
        spent: whatever comes is content, and nothing is held back: there is no need to feed it any more.
    """

    markers: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.reader = TextReader()
        self.out = EventWriter(self.new_id)
        self.thinking = False
        self._only_content_left = False
        self._script = self._run()
        self._finished = False

    @classmethod
    def new_id(cls, name: str, index: int) -> str:
        """An id for a call whose text has none."""
        return "chatcmpl-tool-" + uuid.uuid4().hex

    @property
    def spent(self) -> bool:
        return self._only_content_left and self.out.spoken

    def feed(self, delta: str) -> list[Event]:
        """Take the next piece of text, of any size; return what is certain now."""
        if delta:
            self.reader.add(delta)
            next(self._script)
        return self.out.take()

    def finish(self) -> list[Event]:
        """The text is over; return the rest. Nothing may be fed afterwards."""
        if not self._finished:
            self._finished = True
            self.reader.ended = True
            for _ in self._script:
                pass
            assert self.reader.at == len(self.reader.text), "a parser left text unread"
            self.out.end_call()
            self.out.finish()
        return self.out.take()

    def parse(self, text: str) -> Message:
        """The message that the whole text is."""
        return joined(self.feed(text) + self.finish())

    def _rest_is_content(self) -> Script[None]:
        """Read to the end of the text, all of it content."""
        self._only_content_left = True
        yield from self.reader.until(NO_STOPS, self.out.content)

    @abstractmethod
    def _run(self) -> Script[None]:
        """Read the text to its end; never return before."""
