"""ChatStream: the chunks of a streamed chat answer, written as bytes.

Cost per token counts here: what repeats is encoded once per stream, a chunk of text is three joined pieces.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.entrypoints.openai.logprobs import chat_logprobs
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.openai.usage_json import usage_json
from penstock.errors import EngineError
from penstock.outputs import CompletionOutput, RequestOutput

_encode = msgspec.json.Encoder().encode


class ChatStream:
    """Chunks of one request with `n` choices.

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
        service: Service,
        head: dict[str, Any],
        role: str,
        echo: str,
        n: int,
        prompt_ids: list[int],
        top_logprobs: int | None,
        as_ids: bool,
        with_ids: bool,
        usage_always: bool,
        usage_at_end: bool,
    ):
        self._service = service
        self._role = role
        self._echo = echo
        self._n = n
        self._prompt_ids = prompt_ids
        self._top = top_logprobs
        self._as_ids = as_ids
        self._with_ids = with_ids
        self._usage_always = usage_always
        self._usage_at_end = usage_at_end
        self._plain = top_logprobs is None and not with_ids and not usage_always
        self._cached: int | None = None
        self._tokens = 0
        self._open = n
        self._begun = False
        self._fingerprint = _encode(service.fingerprint)
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._text_heads = [self._head + b'{"index":%d,"delta":{"content":' % i for i in range(n)]

    def chunks(self, output: RequestOutput) -> bytes:
        """Events for what is new; b"" if there is nothing to say."""
        if not self._begun:
            self._begun = True
            self._cached = output.num_cached_tokens
            first = self._first_chunks()
            return first + b"".join([self._chunk(o) for o in output.outputs])
        outputs = output.outputs
        if len(outputs) == 1:
            return self._chunk(outputs[0])
        return b"".join([self._chunk(o) for o in outputs])

    def end(self) -> bytes:
        """The usage chunk, if there is one."""
        if not self._usage_at_end:
            return b""
        return b'%s],"usage":%s,"system_fingerprint":%s}\n\n' % (self._head, self._usage(), self._fingerprint)

    def _first_chunks(self) -> bytes:
        """The role of each choice, and the echoed text."""
        ids = _encode(self._prompt_ids) if self._with_ids else b"null"
        role = _encode(self._role)
        usage = self._usage_member()
        parts = [
            b'%s{"index":%d,"delta":{"role":%s,"content":""},"logprobs":null,"finish_reason":null}],'
            b'"prompt_token_ids":%s,"prompt_text":null%s}\n\n' % (self._head, i, role, ids, usage)
            for i in range(self._n)
        ]
        if self._echo:
            echo = _encode(self._echo)
            parts += [
                b'%s%s},"logprobs":null,"finish_reason":null,"token_ids":null}]%s}\n\n' % (head, echo, usage)
                for head in self._text_heads
            ]
        return b"".join(parts)

    def _chunk(self, out: CompletionOutput) -> bytes:
        self._tokens += len(out.token_ids)
        if out.finish_reason is None and self._plain:
            if not out.text:
                return b""
            return b"".join(
                (
                    self._text_heads[out.index],
                    _encode(out.text),
                    b'},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n',
                )
            )
        return self._full_chunk(out)

    def _full_chunk(self, out: CompletionOutput) -> bytes:
        if out.finish_reason == "error":
            raise EngineError("the engine failed on this request")
        logprobs = b"null"
        if self._top is not None and out.logprobs:
            logprobs = _encode(chat_logprobs(out.token_ids, out.logprobs, self._top, as_ids=self._as_ids))
        ids = _encode(out.token_ids) if self._with_ids else b"null"
        finish, tail = b"null", b""
        if out.finish_reason is not None:
            self._open -= 1
            finish = _encode(out.finish_reason) + b',"stop_reason":' + _encode(out.stop_reason)
            if self._open == 0 and not self._usage_at_end:
                tail = b',"system_fingerprint":' + self._fingerprint
        elif not out.text and not out.token_ids:
            return b""
        return b'%s%s},"logprobs":%s,"finish_reason":%s,"token_ids":%s}]%s%s}\n\n' % (
            self._text_heads[out.index],
            _encode(out.text),
            logprobs,
            finish,
            ids,
            self._usage_member(),
            tail,
        )

    def _usage_member(self) -> bytes:
        return b',"usage":' + self._usage() if self._usage_always else b""

    def _usage(self) -> bytes:
        return usage_json(self._service.usage(len(self._prompt_ids), self._tokens, self._cached))
