"""POST /v1/completions: one request to the engine per prompt, answered together or as one stream."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.entrypoints.openai.answers import Completion, CompletionChoice, CompletionLogprobs
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.completion_stream import CompletionStream
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.guard import Guard
from penstock.entrypoints.openai.logprobs import CompletionLogprobsBuilder, prompt_logprobs
from penstock.entrypoints.openai.prompts import Prompt, split_prompts
from penstock.entrypoints.openai.sampling import check_total, checked_max_tokens, refuse_unsupported, sampling_params
from penstock.entrypoints.openai.service import OutputStream, Service, last_outputs
from penstock.entrypoints.openai.sse import EventStream
from penstock.entrypoints.openai.types import CompletionRequest
from penstock.errors import ClientError, EngineError
from penstock.outputs import CompletionOutput, RequestOutput
from penstock.params import SamplingParams

DEFAULT_MAX_TOKENS = 16

_decoder = msgspec.json.Decoder(CompletionRequest, strict=False)
_encode = msgspec.json.Encoder().encode


async def completions(request: Request, front: Front) -> Response:
    """Handler of the route."""
    service = front.service
    body = await read_body(request, _decoder)
    model = service.check_model(body.model)
    _check(body)
    refuse_unsupported(body)
    prompts = split_prompts(body.prompt)
    params = _params(body, service)
    check_total(len(prompts), max(params.n, params.best_of or 1))
    service.admit()
    public_id = "cmpl-" + service.public_id(request, body)
    streams = await _submit_all(request, body, service, prompts, params, public_id)
    answer = CompletionAnswer(body, service, public_id, model, prompts, streams)

    def close() -> None:
        for stream in streams:
            stream.close()

    if body.stream:
        return EventStream(answer.events(params), close, service.keep_alive_s)
    try:
        async with Guard(request.receive):
            outputs = await last_outputs(streams)
    finally:
        close()
    return Response(_encode(answer.whole(outputs)), media_type="application/json")


def _check(body: CompletionRequest) -> None:
    """Combinations of fields that only completions have."""
    if body.prompt_embeds is not None:
        raise ClientError("prompt_embeds are not supported by this server.", "prompt_embeds")
    if body.suffix:
        raise ClientError("suffix is only supported for models with FIM completion, which this is not.", "suffix")
    if body.max_tokens == 0 and not body.echo:
        raise ClientError("max_tokens must be at least 1, got 0.", "max_tokens")
    if body.echo and body.stream and body.logprobs is not None and body.prompt_logprobs:
        raise ClientError("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")


def _params(body: CompletionRequest, service: Service) -> SamplingParams:
    given = checked_max_tokens(body.max_tokens, service.max_model_len)
    max_tokens = DEFAULT_MAX_TOKENS if given is None else given
    params = sampling_params(
        body,
        max_tokens=max(max_tokens, 1),  # 0 scores the prompt: one token is made and left out of the answer
        logprobs=body.logprobs,
        defaults=service.defaults,
    )
    if body.echo and body.logprobs is not None and params.prompt_logprobs is None:
        params.prompt_logprobs = body.logprobs
    return params


async def _submit_all(
    request: Request,
    body: CompletionRequest,
    service: Service,
    prompts: list[Prompt],
    params: SamplingParams,
    public_id: str,
) -> list[OutputStream]:
    """Every prompt, or none if one is refused."""
    special = body.add_special_tokens is not False
    streams: list[OutputStream] = []
    try:
        for prompt in prompts:
            streams.append(await service.submit(request, body, prompt, params, public_id, special))
    except BaseException:  # passed on: whatever ends this, nothing may be left running
        for stream in streams:
            stream.close()
        raise
    return streams


class CompletionAnswer:
    """Makes answers for one completion request.

    Args:
        prompts: as given. streams: one per prompt.
    """

    def __init__(
        self,
        body: CompletionRequest,
        service: Service,
        public_id: str,
        model: str,
        prompts: list[Prompt],
        streams: list[OutputStream],
    ):
        self._body = body
        self._service = service
        self._id = public_id
        self._model = model
        self._prompts = prompts
        self._streams = streams
        self._created = int(time.time())
        as_ids = body.return_tokens_as_token_ids
        self._as_ids = service.tokens_as_ids if as_ids is None else as_ids
        self._scores_only = body.max_tokens == 0

    def whole(self, outputs: list[RequestOutput]) -> Completion:
        """The answer to a request that does not stream."""
        choices: list[CompletionChoice] = []
        prompt_tokens = done = cached = 0
        for i, output in enumerate(outputs):
            prompt_tokens += len(output.prompt_token_ids)
            cached += output.num_cached_tokens or 0
            for out in output.outputs:
                done += 0 if self._scores_only else len(out.token_ids)
                choices.append(self._choice(i, len(choices), output, out))
        return Completion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=self._service.usage(prompt_tokens, done, cached),
            system_fingerprint=self._service.fingerprint,
        )

    def _choice(self, prompt: int, index: int, output: RequestOutput, out: CompletionOutput) -> CompletionChoice:
        if out.finish_reason == "error":
            raise EngineError("the engine failed on this request")
        body = self._body
        text, ids, reason = out.text, out.token_ids, out.finish_reason
        logprobs = out.logprobs or []
        if self._scores_only:
            text, ids, logprobs, reason = "", [], [], "length"
        asked_prompt_logprobs = body.prompt_logprobs is not None
        shown: CompletionLogprobs | None = None
        if body.logprobs is not None:
            builder = self.logprobs_builder()
            if body.echo and output.prompt_logprobs is not None:
                builder.add(output.prompt_token_ids, output.prompt_logprobs)
            builder.add(ids, logprobs)
            shown = builder.take()
        return CompletionChoice(
            index=index,
            text=self.echo_text(prompt) + text,
            logprobs=shown,
            finish_reason=reason,
            stop_reason=out.stop_reason,
            token_ids=ids if body.return_token_ids else None,
            prompt_logprobs=prompt_logprobs(output.prompt_logprobs) if asked_prompt_logprobs else None,
            prompt_token_ids=output.prompt_token_ids if body.return_token_ids else None,
        )

    def events(self, params: SamplingParams) -> CompletionEvents:
        """The answer as events, without the final [DONE]."""
        body = self._body
        usage_at_end, usage_always = self._service.stream_usage(body)
        stream = CompletionStream(
            service=self._service,
            head={"id": self._id, "object": "text_completion", "created": self._created, "model": self._model},
            n=params.n,
            prompt_ids=[s.prompt_token_ids for s in self._streams],
            echo=[self.echo_text(i) for i in range(len(self._streams))] if body.echo else None,
            logprobs=self.logprobs_builder if body.logprobs is not None else None,
            with_ids=bool(body.return_token_ids),
            scores_only=self._scores_only,
            usage_always=usage_always,
            usage_at_end=usage_at_end,
        )
        return CompletionEvents(self._streams, stream)

    def echo_text(self, prompt: int) -> str:
        """The prompt's text, if the request wants it repeated."""
        if not self._body.echo:
            return ""
        given = self._prompts[prompt]
        if isinstance(given, str) and self._body.truncate_prompt_tokens is None:
            return given
        tokenizer = self._service.tokenizer
        if tokenizer is None:
            return ""
        return tokenizer.decode(self._streams[prompt].prompt_token_ids, skip_special_tokens=False)

    def logprobs_builder(self) -> CompletionLogprobsBuilder:
        top = -1 if self._body.logprob_token_ids else self._body.logprobs or 0
        return CompletionLogprobsBuilder(top, as_ids=self._as_ids, spell=self._spell)

    def _spell(self, token_id: int) -> str:
        tokenizer = self._service.tokenizer
        return f"token_id:{token_id}" if tokenizer is None else tokenizer.decode([token_id], skip_special_tokens=False)


class CompletionEvents:
    """The events of one stream, of the answers to all prompts in the order in which they come; `sse.Told`."""

    def __init__(self, streams: list[OutputStream], writer: CompletionStream):
        self.over = False
        self._streams = streams
        self._open = len(streams)
        self._new = dict.fromkeys(range(len(streams)))  # prompts that may have a new output
        self._writer = writer

    def listen(self, wake: Callable[[], None]) -> None:
        def tell(prompt: int) -> None:
            self._new[prompt] = None
            wake()

        for prompt, stream in enumerate(self._streams):
            stream.listen(partial(tell, prompt))

    def take(self) -> bytes:
        new = b""
        told, self._new = self._new, {}
        for prompt in told:
            output = self._streams[prompt].take()
            if output is not None:
                new += self._writer.chunks(prompt, output)
                self._open -= output.finished
        if not (self._open or self.over):
            self.over = True
            new += self._writer.end()
        return new
