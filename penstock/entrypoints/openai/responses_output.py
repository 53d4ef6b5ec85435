"""Output: a parser's events become output items, and the events that tell of them in a stream.

One state machine for both, so that a streamed response and a whole one have the same items: at most one item is open,
and what is of another kind closes it.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from penstock.entrypoints.openai.answers import ChatTokenLogprob
from penstock.entrypoints.openai.responses_types import (
    FunctionCallItem,
    MessageItem,
    OutputItem,
    OutputText,
    ReasoningItem,
    ReasoningText,
    SummaryText,
)
from penstock.parsers.events import ArgumentsDelta, ContentDelta, Event, ReasoningDelta, ToolCallEnd, ToolCallStart

_encode = msgspec.json.Encoder().encode

# Reasoning is no secret here: what clients expect to be encrypted says the same as `content`, in a form that they keep.
SEAL = "penstock1."


def sealed(reasoning: str) -> str:
    """The `encrypted_content` of a reasoning item."""
    return SEAL + base64.b64encode(reasoning.encode()).decode()


def unsealed(content: str) -> str | None:
    """The reasoning again; None if it was not sealed here."""
    if not content.startswith(SEAL):
        return None
    try:
        return base64.b64decode(content[len(SEAL) :], validate=True).decode()
    except ValueError:
        return None


class EventLog:
    """Numbers and encodes the events of one response."""

    def __init__(self) -> None:
        self._count = 0
        self._new: list[bytes] = []

    def add(self, kind: str, **members: Any) -> None:
        data = _encode({"type": kind, **members, "sequence_number": self._count})
        self._new.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), data))
        self._count += 1

    def add_delta(self, head: bytes, text: str, rest: bytes = b"") -> None:
        """An event whose beginning was made by `head`, which ends with this text; once per token, so it is short."""
        self._new.append(b'%s%s%s,"sequence_number":%d}\n\n' % (head, _encode(text), rest, self._count))
        self._count += 1

    def take(self) -> list[bytes]:
        """What is new: one item per event."""
        new, self._new = self._new, []
        return new


def _head(kind: str, **members: Any) -> bytes:
    return b'event: %s\ndata: %s,"delta":' % (kind.encode(), _encode({"type": kind, **members})[:-1])


class _OpenItem(ABC):
    """An item that grows.

    Args:
        item_id: its id.
        index: its place in the output.
        log: where its events go; None if there is no stream.
    """

    def __init__(self, item_id: str, index: int, log: EventLog | None):
        self._id = item_id
        self._log = log
        self._pieces: list[str] = []
        self._place = {"item_id": item_id, "output_index": index}
        if log is not None:
            log.add("response.output_item.added", output_index=index, item=self._empty())
            self._begin(log)

    def add(self, text: str) -> None:
        self._pieces.append(text)
        if self._log is not None:
            self._grow(self._log, text)

    def close(self, status: str) -> OutputItem:
        item = self.item(status)
        if self._log is not None:
            self._end(self._log, "".join(self._pieces), item)
            self._log.add("response.output_item.done", output_index=self._place["output_index"], item=item)
        return item

    @abstractmethod
    def item(self, status: str) -> OutputItem:
        """As it is now."""

    @abstractmethod
    def _empty(self) -> OutputItem: ...

    @abstractmethod
    def _begin(self, log: EventLog) -> None: ...

    @abstractmethod
    def _grow(self, log: EventLog, text: str) -> None: ...

    @abstractmethod
    def _end(self, log: EventLog, text: str, item: OutputItem) -> None: ...


class _OpenMessage(_OpenItem):
    def __init__(self, item_id: str, index: int, log: EventLog | None):
        self._logprobs: list[ChatTokenLogprob] = []
        self._new_logprobs: list[ChatTokenLogprob] = []
        super().__init__(item_id, index, log)

    def add_logprobs(self, logprobs: list[ChatTokenLogprob]) -> None:
        """Those of the text that is added next."""
        self._logprobs += logprobs
        self._new_logprobs += logprobs

    def item(self, status: str) -> MessageItem:
        return MessageItem(self._id, status, [OutputText("".join(self._pieces), logprobs=self._logprobs)])

    def _empty(self) -> MessageItem:
        return MessageItem(self._id, "in_progress", [])

    def _begin(self, log: EventLog) -> None:
        self._place["content_index"] = 0
        self._delta = _head("response.output_text.delta", **self._place)
        log.add("response.content_part.added", **self._place, part=OutputText(""))

    def _grow(self, log: EventLog, text: str) -> None:
        if not self._new_logprobs:
            log.add_delta(self._delta, text, b',"logprobs":[]')
            return
        log.add_delta(self._delta, text, b',"logprobs":' + _encode(self._new_logprobs))
        self._new_logprobs = []

    def _end(self, log: EventLog, text: str, item: OutputItem) -> None:
        log.add("response.output_text.done", **self._place, text=text, logprobs=self._logprobs)
        log.add("response.content_part.done", **self._place, part=OutputText(text, logprobs=self._logprobs))


class _OpenReasoning(_OpenItem):
    def __init__(self, item_id: str, index: int, log: EventLog | None, summarize: bool, seal: bool):
        self._summarize = summarize
        self._seal = seal
        super().__init__(item_id, index, log)

    def item(self, status: str) -> ReasoningItem:
        text = "".join(self._pieces)
        summary = [SummaryText(text)] if self._summarize else []
        return ReasoningItem(self._id, status, summary, [ReasoningText(text)], sealed(text) if self._seal else None)

    def _empty(self) -> ReasoningItem:
        return ReasoningItem(self._id, "in_progress", [], [])

    def _begin(self, log: EventLog) -> None:
        self._text = {**self._place, "content_index": 0}
        self._summary = {**self._place, "summary_index": 0}
        self._delta = _head("response.reasoning_text.delta", **self._text)
        self._summary_delta = _head("response.reasoning_summary_text.delta", **self._summary)
        log.add("response.content_part.added", **self._text, part=ReasoningText(""))
        if self._summarize:
            log.add("response.reasoning_summary_part.added", **self._summary, part=SummaryText(""))

    def _grow(self, log: EventLog, text: str) -> None:
        log.add_delta(self._delta, text)
        if self._summarize:
            log.add_delta(self._summary_delta, text)

    def _end(self, log: EventLog, text: str, item: OutputItem) -> None:
        log.add("response.reasoning_text.done", **self._text, text=text)
        log.add("response.content_part.done", **self._text, part=ReasoningText(text))
        if self._summarize:
            log.add("response.reasoning_summary_text.done", **self._summary, text=text)
            log.add("response.reasoning_summary_part.done", **self._summary, part=SummaryText(text))


class _OpenCall(_OpenItem):
    def __init__(self, item_id: str, index: int, log: EventLog | None, call_id: str, name: str):
        self._call_id = call_id
        self._name = name
        super().__init__(item_id, index, log)

    def item(self, status: str) -> FunctionCallItem:
        return FunctionCallItem(self._id, status, self._call_id, self._name, "".join(self._pieces))

    def _empty(self) -> FunctionCallItem:
        return self.item("in_progress")

    def _begin(self, log: EventLog) -> None:
        self._delta = _head("response.function_call_arguments.delta", **self._place)

    def _grow(self, log: EventLog, text: str) -> None:
        log.add_delta(self._delta, text)

    def _end(self, log: EventLog, text: str, item: OutputItem) -> None:
        log.add("response.function_call_arguments.done", **self._place, name=self._name, arguments=text)


class Output:
    """The output of one response, while it grows.

    Args:
        key: what makes the ids of its items unique: the response's id without its prefix.
        log: where the events of the stream go; None if there is none.
        summarize: give the reasoning as a summary, too.
        seal: give it as `encrypted_content`, too.
    """

    def __init__(self, key: str, log: EventLog | None, *, summarize: bool = False, seal: bool = False):
        self._key = key
        self._log = log
        self._summarize = summarize
        self._seal = seal
        self._done: list[OutputItem] = []
        self._open: _OpenItem | None = None

    def feed(self, events: Iterable[Event], logprobs: Sequence[list[ChatTokenLogprob]] = ()) -> None:
        """Take what is new.

        Args:
            logprobs: for each ContentDelta, those of its tokens; empty if there are none.
        """
        of_text = iter(logprobs) if logprobs else None
        for event in events:
            match event:
                case ContentDelta(text):
                    message = self._message()
                    if of_text is not None:
                        message.add_logprobs(next(of_text))
                    message.add(text)
                case ReasoningDelta(text):
                    self._reasoning().add(text)
                case ToolCallStart(_, call_id, name):
                    self._close("completed")
                    self._open = _OpenCall(self._new_id("fc"), len(self._done), self._log, call_id, name)
                case ArgumentsDelta(_, text) if self._open is not None:
                    self._open.add(text)
                case ToolCallEnd():
                    self._close("completed")

    def finish(self, complete: bool) -> None:
        """Nothing more comes; `complete` tells whether the model came to its end."""
        if complete and self._open is None and not self._done:
            self._message()  # a model that says nothing says ""
        self._close("completed" if complete else "incomplete")

    def items(self) -> list[OutputItem]:
        """As they are now."""
        return self._done if self._open is None else [*self._done, self._open.item("in_progress")]

    def _message(self) -> _OpenMessage:
        if not isinstance(self._open, _OpenMessage):
            self._close("completed")
            self._open = _OpenMessage(self._new_id("msg"), len(self._done), self._log)
        return self._open

    def _reasoning(self) -> _OpenReasoning:
        if not isinstance(self._open, _OpenReasoning):
            self._close("completed")
            at = len(self._done)
            self._open = _OpenReasoning(self._new_id("rs"), at, self._log, self._summarize, self._seal)
        return self._open

    def _close(self, status: str) -> None:
        if self._open is not None:
            self._done.append(self._open.close(status))
            self._open = None

    def _new_id(self, kind: str) -> str:
        return f"{kind}_{self._key}_{len(self._done)}"
