"""TextReader: text that arrives in pieces, read by generators that yield when they need more of it.

Every decision depends on the text alone, never on where the pieces were cut: that is why a stream gives what the whole
gives. Reading is linear: what was read is not looked at again, unless an attempt to read a call is undone (`back`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeVar

T = TypeVar("T")
Script = Generator[None, None, T]  # yields: more text, please
Sink = Callable[[str], None]

# How much may be read twice. A text made of beginnings of calls that are none could otherwise cost its square.
MAX_REREAD_CHARS = 1 << 20
_SPACE = re.compile(r"\s*")


class Stops:
    """Strings that end a run of text. None may be inside another, or the first to arrive would hide the other."""

    def __init__(self, *texts: str):
        assert all(a == b or a not in b for a in texts for b in texts), "a stop inside another"
        self.texts = texts
        self.longest = max(map(len, texts), default=0)
        self.search = re.compile("|".join(map(re.escape, texts)) or r"(?!)").search
        self.first_chars = frozenset(t[0] for t in texts)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def partial(self, text: str, at: int) -> int:
        """Where the end of text[at:] may be the beginning of a stop; len(text) if nowhere."""
        for i in range(max(at, len(text) - self.longest + 1), len(text)):
            if text[i] in self.first_chars and any(t.startswith(text[i:]) for t in self.texts):
                return i
        return len(text)


NO_STOPS = Stops()


class TextReader:
    """A window on the text: what is not read yet, and what a mark still holds."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        self.tired = False  # too much was read twice: no further attempts
        self._mark: int | None = None
        self._held: list[str] = []  # read since the mark, in earlier pieces
        self._reread = 0

    def add(self, piece: str) -> None:
        if self._mark is not None:
            self._held.append(self.text[self._mark : self.at])
            self._mark = 0
        self.text = self.text[self.at :] + piece if self.at < len(self.text) else piece
        self.at = 0

    def mark(self) -> None:
        """Remember this place, to return to."""
        self._mark = self.at
        self._held = []

    def release(self) -> None:
        """Forget the mark."""
        self._mark = None
        self._held = []

    def back(self) -> None:
        """Return to the mark, and forget it."""
        assert self._mark is not None
        held = "".join(self._held)
        self._reread += len(held) + self.at - self._mark
        self.tired = self._reread > MAX_REREAD_CHARS
        if held:
            self.text, self.at = held + self.text[self._mark :], 0
        else:
            self.at = self._mark
        self.release()

    def peek(self, n: int = 1) -> Script[str]:
        """The next n characters, fewer at the end of the text."""
        while len(self.text) - self.at < n and not self.ended:
            yield
        return self.text[self.at : self.at + n]

    def skip(self, n: int) -> str:
        """Read n characters that are here."""
        self.at += n
        return self.text[self.at - n : self.at]

    def space(self) -> Script[str]:
        """Read white space."""
        pieces = []
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match is not None
            pieces.append(match[0])
            self.at = match.end()
            if self.at < len(self.text) or self.ended:
                return "".join(pieces)
            yield

    def literal(self, *texts: str) -> Script[str]:
        """Read the first of these texts that comes next; "" if none does."""
        found = yield from self.coming(*texts)
        self.at += len(found)
        return found

    def coming(self, *texts: str) -> Script[str]:
        """The first of these texts that comes next, not read; "" if none does."""
        while True:
            for text in texts:
                if self.text.startswith(text, self.at):
                    return text
                if not self.ended and text.startswith(self.text[self.at : self.at + len(text)]):
                    break  # may still become this one, which goes before the others
            else:
                return ""
            yield

    def until(self, stops: Stops, sink: Sink) -> Script[str]:
        """Read to the next stop, which is not read; "" at the end of the text. What is certain goes to `sink`."""
        while True:
            match = stops.search(self.text, self.at)
            end = match.start() if match else len(self.text) if self.ended else stops.partial(self.text, self.at)
            if end > self.at:
                sink(self.text[self.at : end])
                self.at = end
            if match:
                return match[0]
            if self.ended:
                return ""
            yield

    def matching(self, pattern: re.Pattern[str]) -> Script[str]:
        """Read as many characters as fit `pattern`, which is one class of characters, starred."""
        pieces = []
        while True:
            match = pattern.match(self.text, self.at)
            assert match is not None
            pieces.append(match[0])
            self.at = match.end()
            if self.at < len(self.text) or self.ended:
                return "".join(pieces)
            yield
