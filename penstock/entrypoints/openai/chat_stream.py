"""ChatStream: the chunks of a streamed chat answer, written as bytes.

Cost per token counts here: what repeats is encoded once per stream, a chunk of text is three joined pieces.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.entrypoints.openai.conversation import AnswerDelta, Conversation
from penstock.entrypoints.openai.logprobs import chat_logprobs
from penstock.entrypoints.openai.usage_json import usage_json
from penstock.parsers.events import ArgumentsDelta, ContentDelta, Event, ReasoningDelta, ToolCallEnd, ToolCallStart

_encode = msgspec.json.Encoder().encode
_PLAIN_TAIL = b'},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'


class ChatStream:
    """Chunks of one request.

    Args:
        head: members that start every chunk: id, object, created, model.
        echo: text put before the answer.
        top_logprobs: alternatives per token; None for no logprobs.
        as_ids: write tokens in logprobs as "token_id:N".
        with_ids: send token ids too.
        usage_always: every chunk carries usage. usage_at_end: a last chunk does.
    """

    def __init__(
        self,
        *,
        conversation: Conversation,
        head: dict[str, Any],
        fingerprint: str,
        role: str,
        echo: str,
        top_logprobs: int | None,
        as_ids: bool,
        with_ids: bool,
        usage_always: bool,
        usage_at_end: bool,
    ):
        n = conversation.params.n
        self._conversation = conversation
        self._role = role
        self._echo = echo
        self._n = n
        self._top = top_logprobs
        self._as_ids = as_ids
        self._with_ids = with_ids
        self._usage_always = usage_always
        self._usage_at_end = usage_at_end
        self._plain = top_logprobs is None and not with_ids and not usage_always
        self._open = n
        self._begun = False
        self._fingerprint = _encode(fingerprint)
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._delta_heads = [self._head + b'{"index":%d,"delta":{' % i for i in range(n)]
        self._text_heads = [delta_head + b'"content":' for delta_head in self._delta_heads]

    def chunks(self, deltas: list[AnswerDelta]) -> bytes:
        """Events for what is new; b"" if there is nothing to say."""
        parts = [] if self._begun else self._first_chunks()
        self._begun = True
        for delta in deltas:
            if delta.finish_reason is not None or not self._plain:
                self._full(delta, parts)
                continue
            for event in delta.events:
                if type(event) is ContentDelta:
                    parts += (self._text_heads[delta.index], _encode(event.text), _PLAIN_TAIL)
                elif type(event) is not ToolCallEnd:
                    parts += (self._delta_heads[delta.index], _members(event), _PLAIN_TAIL)
        return b"".join(parts)

    def end(self) -> bytes:
        """The usage chunk, if there is one."""
        if not self._usage_at_end:
            return b""
        return b'%s],"usage":%s,"system_fingerprint":%s}\n\n' % (self._head, self._usage(), self._fingerprint)

    def _first_chunks(self) -> list[bytes]:
        """The role of each choice, and the echoed text."""
        ids = _encode(self._conversation.prompt_ids) if self._with_ids else b"null"
        role = _encode(self._role)
        usage = b',"usage":' + self._usage(0) if self._usage_always else b""
        parts = [
            b'%s"role":%s,"content":""},"logprobs":null,"finish_reason":null}],'
            b'"prompt_token_ids":%s,"prompt_text":null%s}\n\n' % (head, role, ids, usage)
            for head in self._delta_heads
        ]
        if self._echo:
            echo = _encode(self._echo)
            parts += [
                b'%s%s},"logprobs":null,"finish_reason":null,"token_ids":null}]%s}\n\n' % (head, echo, usage)
                for head in self._text_heads
            ]
        return parts

    def _full(self, delta: AnswerDelta, parts: list[bytes]) -> None:
        """Chunks with all that was asked for: the tokens go with the first one, the end with the last."""
        said = [_members(e) for e in delta.events if type(e) is not ToolCallEnd]
        if not said and delta.finish_reason is None and not delta.token_ids:
            return
        if not said or (delta.finish_reason is not None and type(delta.events[-1]) is not ContentDelta):
            said.append(b"")  # what is no content has ended before the end is told
        logprobs, ids = b"null", b"null"
        if self._top is not None and delta.logprobs:
            logprobs = _encode(chat_logprobs(delta.token_ids, delta.logprobs, self._top, as_ids=self._as_ids))
        if self._with_ids:
            ids = _encode(delta.token_ids)
        usage = b',"usage":' + self._usage() if self._usage_always else b""
        head = self._delta_heads[delta.index]
        for place, members in enumerate(said, 1):
            finish, tail = b"null", b""
            if place == len(said) and delta.finish_reason is not None:
                self._open -= 1
                finish = _encode(delta.finish_reason) + b',"stop_reason":' + _encode(delta.stop_reason)
                if self._open == 0 and not self._usage_at_end:
                    tail = b',"system_fingerprint":' + self._fingerprint
            parts.append(
                b'%s%s},"logprobs":%s,"finish_reason":%s,"token_ids":%s}]%s%s}\n\n'
                % (head, members, logprobs, finish, ids, usage, tail)
            )
            logprobs, ids = b"null", b"[]" if self._with_ids else b"null"

    def _usage(self, completion_tokens: int | None = None) -> bytes:
        usage = self._conversation.usage()
        if completion_tokens is not None:
            usage.completion_tokens = completion_tokens
            usage.total_tokens = usage.prompt_tokens + completion_tokens
        return usage_json(usage)


def _members(event: Event) -> bytes:
    """The members of a chunk's delta."""
    match event:
        case ContentDelta(text):
            return b'"content":' + _encode(text)
        case ReasoningDelta(text):
            encoded = _encode(text)
            return b'"reasoning":%s,"reasoning_content":%s' % (encoded, encoded)
        case ToolCallStart(index, call_id, name):
            return b'"tool_calls":[{"index":%d,"id":%s,"type":"function","function":{"name":%s,"arguments":""}}]' % (
                index,
                _encode(call_id),
                _encode(name),
            )
        case ArgumentsDelta(index, text):
            return b'"tool_calls":[{"index":%d,"function":{"arguments":%s}}]' % (index, _encode(text))
    raise AssertionError(event)
