"""AnswerReader: one answer's text and tokens, as the engine gives them, become events; reasoning tokens are counted.

However the engine's outputs are cut, the events make the same message and the count is the same: where tokens are
counted, the text goes to the parser token by token.
"""

from __future__ import annotations

from collections import deque

from penstock.outputs import CompletionOutput
from penstock.parsers.events import ContentDelta, Event
from penstock.parsers.message import MessageParser
from penstock.tokenizers.text_stream import TextStream


class AnswerReader:
    """Reads one answer.

    Args:
        parser: a fresh one; None if the text is what the model says to the user, all of it.
        counter: decodes the answer's ids as the engine does, to tell which characters come from which token; None if
            reasoning is not to be counted.

    Attributes:
        reasoning_tokens: counted so far.
    """

    def __init__(self, parser: MessageParser | None, counter: TextStream | None):
        self._parser = parser
        self._counter = counter
        self._ends: deque[int] = deque()  # where in the text the tokens end that have not been counted
        self._end = 0
        self._fed = 0
        self.reasoning_tokens = 0

    @property
    def calls(self) -> int:
        """Tool calls so far."""
        return self._parser.calls if self._parser is not None else 0

    def feed(self, out: CompletionOutput) -> list[Event]:
        """What is certain after this output, in order; neighbours may be of one kind."""
        parser = self._parser
        if parser is None:
            return [ContentDelta(out.text)] if out.text else []
        if self._counter is not None:
            events = self._counted(parser, self._counter, out)
        elif parser.passes_all:
            return [ContentDelta(out.text)] if out.text else []
        else:
            events = parser.feed(out.text)
        if out.finish_reason is not None:
            events = events + parser.finish()
        return events

    def _counted(self, parser: MessageParser, counter: TextStream, out: CompletionOutput) -> list[Event]:
        for token_id in out.token_ids:
            self._end += len(counter.feed((token_id,)))
            self._ends.append(self._end)
        events: list[Event] = []
        text, start = out.text, self._fed
        self._fed += len(text)
        at = 0
        while self._ends and (self._ends[0] <= self._fed or out.finish_reason is not None):
            end = min(self._ends.popleft() - start, len(text))
            if end > at:
                events += parser.feed(text[at:end])
                at = end
            self.reasoning_tokens += parser.thinking
        if at < len(text):
            events += parser.feed(text[at:])
        if not parser.splits_reasoning:
            self._counter = None  # no further token counts
        return events
