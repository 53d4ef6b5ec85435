"""SpokenParser: a parser that also tells which tokens the model says to the user, and not to itself or in calls.

Parsers tell texts, not tokens: a text is looked up where the answer was read last, and the tokens under it are its own.
"""

from __future__ import annotations

from collections import deque

from penstock.outputs import CompletionOutput, PositionLogprobs
from penstock.parsers.events import ContentDelta, Event
from penstock.parsers.message import MessageParser
from penstock.tokenizers.text_stream import TextStream

Spoken = list[tuple[int, PositionLogprobs]]


class SpokenParser(MessageParser):
    """Reads as `parser` does.

    Args:
        parser: a fresh one.
        counter: decodes the answer's ids as the engine does, to tell which characters come from which token.
    """

    def __init__(self, parser: MessageParser, counter: TextStream):
        super().__init__()
        self._parser = parser
        self._counter = counter
        self._waiting: deque[tuple[int, int, int, PositionLogprobs]] = deque()  # from, to, id, logprobs
        self._end = 0
        self._text = ""  # what was read since the latest text that was spoken
        self._start = 0  # where in the answer that is
        self._spoken: list[Spoken] = []

    @property
    def thinking(self) -> bool:
        return self._parser.thinking

    @property
    def splits_reasoning(self) -> bool:
        return True  # asks for the text token by token, so that the same tokens are told however it comes

    @property
    def passes_all(self) -> bool:
        return False

    def add(self, out: CompletionOutput) -> None:
        """Tokens whose text comes next, or later."""
        for token_id, logprobs in zip(out.token_ids, out.logprobs or (), strict=True):
            begin = self._end
            self._end += len(self._counter.feed((token_id,)))
            self._waiting.append((begin, self._end, token_id, logprobs))

    def feed(self, delta: str) -> list[Event]:
        self._text += delta
        return self._assigned(self._parser.feed(delta))

    def finish(self) -> list[Event]:
        return self._assigned(self._parser.finish())

    def take(self) -> list[Spoken]:
        """For each ContentDelta since the last call, its tokens."""
        spoken, self._spoken = self._spoken, []
        return spoken

    def _assigned(self, events: list[Event]) -> list[Event]:
        self.calls = self._parser.calls
        self._spoken += [self._tokens_of(e.text) for e in events if isinstance(e, ContentDelta)]
        return events

    def _tokens_of(self, text: str) -> Spoken:
        at = max(self._text.rfind(text), 0)
        first, last = self._start + at, self._start + at + len(text)
        tokens: Spoken = []
        while self._waiting and self._waiting[0][0] < last:
            begin, end, token_id, logprobs = self._waiting.popleft()
            if end > first or begin == end >= first:
                tokens.append((token_id, logprobs))
        self._text, self._start = self._text[at + len(text) :], last
        return tokens
