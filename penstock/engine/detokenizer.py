"""Detokenizer: the text of one answer as its tokens come, ended by the first stop string.

Text that may turn out to begin a stop string is held back. Knows no requests; ids become characters in
`tokenizers/text_stream.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.tokenizers.text_stream import TextStream


class Detokenizer:
    """One answer's text.

    Args:
        stream: turns ids into text.
        stop: strings that end the answer.
        include_stop: leave the stop string in the text.
        min_tokens: stop strings are looked for only in what comes after that many tokens.

    Attributes:
        stop_found: the stop string that ended the answer, or None.
    """

    __slots__ = ("_held", "_hold_back", "_include_stop", "_min_tokens", "_num_tokens", "_stop", "_stream", "stop_found")

    def __init__(self, stream: TextStream, stop: Sequence[str] = (), include_stop: bool = False, min_tokens: int = 0):
        self._stream = stream
        self._stop = tuple(stop)
        self._include_stop = include_stop
        self._min_tokens = min_tokens
        self._num_tokens = 0
        self._hold_back = max((len(s) for s in self._stop), default=1) - 1
        # The end of the text, in which a stop string may have begun; with include_stop it has been given out already.
        self._held = ""
        self.stop_found: str | None = None

    def feed(self, ids: Sequence[int]) -> tuple[str, int]:
        """Take further ids.

        Returns:
            Text to give out, and how many of the ids belong to the answer: fewer than given if a stop string ended it.
        """
        if not self._stop:
            return self._stream.feed(ids), len(ids)
        parts = []
        for taken, token_id in enumerate(ids, 1):
            parts.append(self._search(self._stream.feed((token_id,))))
            if self.stop_found is not None:
                return "".join(parts), taken
        return "".join(parts), len(ids)

    def finish(self) -> str:
        """The rest of the text, when the answer ended for another reason than a stop string."""
        if not self._stop:
            return self._stream.finish()
        rest = self._stream.finish()
        return rest if self._include_stop else self._held + rest

    def _search(self, new: str) -> str:
        """Text to give out now that `new` has come after what is held."""
        self._num_tokens += 1
        if self._num_tokens <= self._min_tokens:
            return new
        given = len(self._held) if self._include_stop else 0
        text = self._held + new
        match = _first_match(text + self._stream.peek(), self._stop)
        if match is not None:
            start, self.stop_found = match
            end = start + len(self.stop_found) if self._include_stop else start
            return (text + self._stream.peek())[given:end]
        keep = max(len(text) - self._hold_back, 0)
        self._held = text[keep:]
        return text[given:] if self._include_stop else text[:keep]


def _first_match(text: str, stop: tuple[str, ...]) -> tuple[int, str] | None:
    """Where a stop string begins and which: the one complete first, the longest of those.

    So the result does not depend on how the text was cut into tokens.
    """
    found = [(at + len(s), at, s) for s in stop if (at := text.find(s)) >= 0]
    if not found:
        return None
    _, start, which = min(found)
    return start, which
