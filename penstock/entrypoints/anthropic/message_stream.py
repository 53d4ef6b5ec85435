"""MessageStream: the events of a streamed Anthropic message, written as bytes.

Cost per token counts here: what repeats is encoded once, a piece of text is three joined pieces.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from penstock.entrypoints.anthropic.answers import MessageAnswer, MessageUsage
from penstock.entrypoints.anthropic.errors import anthropic_error
from penstock.entrypoints.anthropic.message_blocks import BlockDelta, BlockStart, Step
from penstock.entrypoints.openai.errors import error_object
from penstock.entrypoints.openai.sse import StreamForm

_encode = msgspec.json.Encoder().encode

# Member that holds the content, for each kind of delta.
_MEMBERS = {"text": "text", "thinking": "thinking", "input_json": "partial_json", "signature": "signature"}
_DELTA_HEAD = b"""event: content_block_delta
data: {"type":"content_block_delta","index":%d,"delta":{"type":"%s_delta","%s":"""


def _event(kind: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


PING = _event("ping", b'{"type":"ping"}')
FORM = StreamForm(b"", PING, lambda exc: _event("error", anthropic_error(error_object(exc))))


class MessageStream:
    """Writes the events of one message."""

    def __init__(self) -> None:
        self._delta_heads: dict[tuple[int, str], bytes] = {}

    def start(self, message: MessageAnswer) -> bytes:
        """The first events: a message without content, with the prompt's tokens."""
        return _json_event("message_start", {"message": message}) + PING

    def steps(self, steps: Iterable[Step]) -> bytes:
        """Events for what is new in the blocks; b"" for nothing."""
        return b"".join([self._delta(s) if isinstance(s, BlockDelta) else _edge(s) for s in steps])

    def end(self, stop_reason: str, stop_sequence: str | None, usage: MessageUsage) -> bytes:
        """The last events."""
        delta = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
        return _json_event("message_delta", {"delta": delta, "usage": usage}) + _json_event("message_stop", {})

    def _delta(self, step: BlockDelta) -> bytes:
        key = (step.index, step.kind)
        head = self._delta_heads.get(key)
        if head is None:
            names = step.index, step.kind.encode(), _MEMBERS[step.kind].encode()
            head = _DELTA_HEAD % names
            self._delta_heads[key] = head
        return b"".join((head, _encode(step.text), b"}}\n\n"))


def _edge(step: Step) -> bytes:
    if isinstance(step, BlockStart):
        return _json_event("content_block_start", {"index": step.index, "content_block": step.block})
    return _json_event("content_block_stop", {"index": step.index})


def _json_event(kind: str, members: dict[str, Any]) -> bytes:
    return _event(kind, _encode({"type": kind, **members}))
