"""CompletionStream: the chunks of a streamed completion, written as bytes; see `chat_stream.py` for the why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.entrypoints.openai.logprobs import CompletionLogprobsBuilder
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.openai.usage_json import usage_json
from penstock.errors import EngineError
from penstock.outputs import CompletionOutput, PositionLogprobs, RequestOutput

_encode = msgspec.json.Encoder().encode
_PLAIN_TAIL = (
    b',"logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}\n\n'
)


class CompletionStream:
    """Chunks of one request: choices are numbered prompt by prompt.

    Args:
        head: members that start every chunk: id, object, created, model.
        n: choices per prompt.
        prompt_ids: tokens of each prompt.
        echo: text of each prompt if it is to be repeated.
        logprobs: makes the collector of one choice; None for no logprobs.
        with_ids: send token ids too.
        scores_only: leave out what was generated (max_tokens 0).
        usage_always: every chunk carries usage. usage_at_end: a last chunk does.
    """

    def __init__(
        self,
        *,
        service: Service,
        head: dict[str, Any],
        n: int,
        prompt_ids: list[list[int]],
        echo: list[str] | None,
        logprobs: Callable[[], CompletionLogprobsBuilder] | None,
        with_ids: bool,
        scores_only: bool,
        usage_always: bool,
        usage_at_end: bool,
    ):
        count = n * len(prompt_ids)
        self._service = service
        self._n = n
        self._prompt_ids = prompt_ids
        self._echo = echo
        self._with_ids = with_ids
        self._scores_only = scores_only
        self._usage_always = usage_always
        self._usage_at_end = usage_at_end
        self._plain = logprobs is None and not with_ids and not usage_always and echo is None
        self._logprobs = None if logprobs is None else [logprobs() for _ in range(count)]
        self._begun = [False] * count
        self._cached = [0] * len(prompt_ids)
        self._prompt_logprobs: dict[
            int, list[PositionLogprobs | None]
        ] = {}  # by prompt; they come once for all choices
        self._tokens = 0
        self._open = count
        self._fingerprint = _encode(service.fingerprint)
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._text_heads = [self._head + b'{"index":%d,"text":' % i for i in range(count)]

    def chunks(self, prompt: int, output: RequestOutput) -> bytes:
        """Events for what is new in the answers to one prompt; b"" if there is nothing to say."""
        if output.num_cached_tokens is not None:
            self._cached[prompt] = output.num_cached_tokens
        if output.prompt_logprobs is not None:
            self._prompt_logprobs[prompt] = output.prompt_logprobs
        outputs = output.outputs
        if len(outputs) == 1:
            return self._chunk(prompt, outputs[0])
        return b"".join([self._chunk(prompt, o) for o in outputs])

    def end(self) -> bytes:
        """The usage chunk, if there is one."""
        if not self._usage_at_end:
            return b""
        return b'%s],"usage":%s,"system_fingerprint":%s}\n\n' % (self._head, self._usage(), self._fingerprint)

    def _chunk(self, prompt: int, out: CompletionOutput) -> bytes:
        index = prompt * self._n + out.index
        if self._plain and out.finish_reason is None:
            self._tokens += len(out.token_ids)
            return b"".join((self._text_heads[index], _encode(out.text), _PLAIN_TAIL)) if out.text else b""
        return self._full_chunk(index, prompt, out)

    def _full_chunk(self, index: int, prompt: int, out: CompletionOutput) -> bytes:
        if out.finish_reason == "error":
            raise EngineError("the engine failed on this request")
        first = not self._begun[index]
        self._begun[index] = True
        text, ids, logprobs = out.text, out.token_ids, out.logprobs or []
        if self._scores_only:
            text, ids, logprobs = "", [], []
        self._tokens += len(ids)
        if first and self._echo is not None:
            text = self._echo[prompt] + text
        shown = b"null"
        if self._logprobs is not None:
            builder = self._logprobs[index]
            if first and self._echo is not None and prompt in self._prompt_logprobs:
                builder.add(self._prompt_ids[prompt], self._prompt_logprobs[prompt])
            builder.add(ids, logprobs)
            shown = _encode(builder.take())
        if not text and not ids and out.finish_reason is None:
            return b""
        finish, reason, tail = b"null", b"null", b""
        if out.finish_reason is not None:
            self._open -= 1
            finish, reason = _encode("length" if self._scores_only else out.finish_reason), _encode(out.stop_reason)
            if self._open == 0 and not self._usage_at_end:
                tail = b',"system_fingerprint":' + self._fingerprint
        return (
            b'%s%s,"logprobs":%s,"finish_reason":%s,"stop_reason":%s,"prompt_token_ids":%s,"token_ids":%s}]%s%s}\n\n'
            % (
                self._text_heads[index],
                _encode(text),
                shown,
                finish,
                reason,
                _encode(self._prompt_ids[prompt]) if self._with_ids and first else b"null",
                _encode(ids) if self._with_ids else b"null",
                b',"usage":' + self._usage() if self._usage_always else b"",
                tail,
            )
        )

    def _usage(self) -> bytes:
        prompt_tokens = sum(len(ids) for ids in self._prompt_ids)
        return usage_json(self._service.usage(prompt_tokens, self._tokens, sum(self._cached)))
