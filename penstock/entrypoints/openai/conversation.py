"""Conversation: what every API with messages shares, from the request to the answer's events.

Chat completions, responses and Anthropic's messages each put their request into a `ChatRequest`, open a conversation
with it, and write what comes out of it in their own form. Nothing here knows those forms.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.requests import Request

from penstock.entrypoints.openai.answer_reader import AnswerReader
from penstock.entrypoints.openai.answers import Usage
from penstock.entrypoints.openai.chat_prompt import final_text, rendered, template_kwargs
from penstock.entrypoints.openai.sampling import checked_max_tokens, refuse_unsupported, sampling_params
from penstock.entrypoints.openai.service import OutputStream, Service, last_output
from penstock.entrypoints.openai.spoken_tokens import Spoken, SpokenParser
from penstock.entrypoints.openai.tool_choice import check_tools, constraint_of_tools
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError, EngineError
from penstock.outputs import CompletionOutput, PositionLogprobs, RequestOutput
from penstock.params import SamplingParams, ThinkingParams
from penstock.parsers.events import Event, Message, joined
from penstock.parsers.message import MessageParser
from penstock.tokenizers.text_stream import TextStream
from penstock.tokenizers.tokenizer import Tokenizer

READ_INLINE_TOKENS = 512  # some 5 us each where reasoning is counted; longer answers are read on a thread
HONOURED = ("thinking_token_budget",)  # of the fields that `sampling.py` knows to be refused elsewhere


class AnswerDelta(msgspec.Struct):
    """What is new in one of the answers.

    Attributes:
        index: which answer, 0..n-1.
        events: of `parsers/events.py`, in order: ContentDelta, ReasoningDelta, ToolCallStart, ArgumentsDelta,
            ToolCallEnd. May be empty: text can be held back until it is certain what it is.
        token_ids: new ones; not those of `events` (text may come later than its tokens).
        logprobs: one dict per token of `token_ids`, if the request has logprobs.
        finish_reason: None until the last delta of this answer; "stop", "length", "tool_calls" or "abort".
        stop_reason: the stop string or stop token id that ended it; else None.
        spoken: for each ContentDelta of `events`, its tokens with their logprobs; None unless `tell_spoken` was set.
    """

    index: int
    events: list[Event]
    token_ids: list[int]
    logprobs: list[PositionLogprobs] | None
    finish_reason: str | None
    stop_reason: int | str | None
    spoken: list[Spoken] | None = None


class WholeAnswer(msgspec.Struct):
    """One of the answers of a request that does not stream; as the deltas of a stream, joined.

    Attributes:
        events: what `message` is joined from, for forms that keep the order of text and calls.
    """

    index: int
    message: Message
    events: list[Event]
    token_ids: list[int]
    logprobs: list[PositionLogprobs] | None
    finish_reason: str | None
    stop_reason: int | str | None


class Conversation:
    """One request in the engine, and its answers. Made by `open_conversation`; has one reader.

    Either `await whole()` (the body does not stream), or iterate (`async for deltas in conversation`: each item is a
    list of AnswerDelta, of different answers; it ends when all have ended), or `listen` and `take`. Call `close` when
    the reader is done or gone, `EventStream` does: what is still open is then aborted.

    Attributes:
        body: the request.
        model: the name to echo.
        params: what the engine was asked.
        prompt: the text that was rendered.
        prompt_ids: its tokens.
        cached_tokens: prompt tokens that came from the prefix cache; None until the first output.
        completion_tokens, reasoning_tokens: so far, of all answers; the second counts among the first.
        prompt_logprobs: if asked for, after `whole`.
        over: `take` has given everything.
    """

    def __init__(
        self,
        body: ChatRequest,
        service: Service,
        outputs: OutputStream,
        params: SamplingParams,
        prompt: str,
        *,
        tell_spoken: bool = False,
    ):
        self.body = body
        self.model = body.model or service.model_names[0]
        self.params = params
        self.prompt = prompt
        self.prompt_ids = outputs.prompt_token_ids
        self.cached_tokens: int | None = None
        self.completion_tokens = 0
        self.prompt_logprobs: list[PositionLogprobs | None] | None = None
        self.over = False
        self._service = service
        self._outputs = outputs
        self._named = isinstance(body.tool_choice, dict)
        parsers = [self._parser() for _ in range(params.n)]
        self._spoken: list[SpokenParser] = []
        if tell_spoken and body.logprobs and service.tokenizer is not None:
            self._spoken = [SpokenParser(p or MessageParser(), self._counter(service.tokenizer)) for p in parsers]
            parsers = list(self._spoken)
        self._readers = [self._reader(p) for p in parsers]

    @property
    def reasoning_tokens(self) -> int:
        return sum(r.reasoning_tokens for r in self._readers)

    @property
    def has_parsers(self) -> bool:
        """Whether there can be other events than ContentDelta."""
        return self._parser() is not None

    def usage(self) -> Usage:
        """Tokens so far."""
        reasoning = self.reasoning_tokens if self._service.parsers.reasoning is not None else None
        return self._service.usage(len(self.prompt_ids), self.completion_tokens, self.cached_tokens, reasoning)

    async def whole(self) -> list[WholeAnswer]:
        """All answers, when they have ended, by index. Cancelling the wait aborts the request.

        Raises:
            EngineError, DeadlineError: the request failed.
        """
        output = await last_output(self._outputs)
        self.cached_tokens = output.num_cached_tokens
        self.prompt_logprobs = output.prompt_logprobs
        answers = []
        for out in output.outputs:
            if len(out.token_ids) <= READ_INLINE_TOKENS:
                delta = self._delta(out)
            else:
                delta = await asyncio.to_thread(self._delta, out)
            answers.append(
                WholeAnswer(
                    delta.index,
                    joined(delta.events),
                    delta.events,
                    delta.token_ids,
                    delta.logprobs,
                    delta.finish_reason,
                    delta.stop_reason,
                )
            )
        return answers

    async def __aiter__(self) -> AsyncIterator[list[AnswerDelta]]:
        """
        Raises:
            EngineError, DeadlineError: the request failed.
        """
        async for output in self._outputs:
            yield self._deltas(output)
            if output.finished:
                return

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called whenever `take` may give something new."""
        self._outputs.listen(wake)

    def take(self) -> list[AnswerDelta]:
        """What is new, without waiting.

        Raises:
            EngineError, DeadlineError: the request failed.
        """
        output = self._outputs.take()
        if output is None:
            return []
        self.over = output.finished
        return self._deltas(output)

    def close(self) -> None:
        """Abort what is still open. Safe to call at any time, and twice."""
        self._outputs.close()

    def _deltas(self, output: RequestOutput) -> list[AnswerDelta]:
        if self.cached_tokens is None:
            self.cached_tokens = output.num_cached_tokens
        return [self._delta(out) for out in output.outputs]

    def _delta(self, out: CompletionOutput) -> AnswerDelta:
        reason = out.finish_reason
        if reason == "error":
            raise EngineError("the engine failed on this request")
        reader = self._readers[out.index]
        if self._spoken:
            self._spoken[out.index].add(out)
        events = reader.feed(out)
        self.completion_tokens += len(out.token_ids)
        if reason == "stop" and reader.calls and not self._named:
            reason = "tool_calls"
        spoken = self._spoken[out.index].take() if self._spoken else None
        return AnswerDelta(out.index, events, out.token_ids, out.logprobs, reason, out.stop_reason, spoken)

    def _reader(self, parser: MessageParser | None) -> AnswerReader:
        tokenizer = self._service.tokenizer
        if parser is None or not parser.splits_reasoning or tokenizer is None:
            return AnswerReader(parser, None)
        return AnswerReader(parser, self._counter(tokenizer))

    def _counter(self, tokenizer: Tokenizer) -> TextStream:
        """Decodes the ids of an answer as the engine does."""
        return tokenizer.text_stream(
            skip_special_tokens=self.params.skip_special_tokens,
            spaces_between_special_tokens=self.params.spaces_between_special_tokens,
            at_start=all(i in tokenizer.special_ids for i in self.prompt_ids),
            kept_ids=self.params.kept_special_token_ids or (),
        )

    def _parser(self) -> MessageParser | None:
        """A fresh one; None if all text is content."""
        body = self.body
        parser = self._service.parsers.for_answer(
            tools=body.tools,
            tool_choice=body.tool_choice,
            parallel_tool_calls=body.parallel_tool_calls is not False,
            include_reasoning=body.include_reasoning is not False,
            prompt=self.prompt,
            template_kwargs=template_kwargs(body, self._service),
            final_text=final_text(body),
        )
        return None if parser.passes_all else parser


async def open_conversation(
    request: Request, service: Service, body: ChatRequest, public_id: str, *, tell_spoken: bool = False
) -> Conversation:
    """Check a request, render its messages, and submit it.

    Whether the answer is streamed is for `body.stream` to say: it decides how much the engine tells at once.

    Args:
        request: for its headers (deadline), and the API key's namespace of the prefix cache. Not read, not kept.
        body: as the client sent it, or made from another API's request; any field of `ChatRequest` is honoured. Fields
            that are None have their defaults.
        public_id: what the client sees; for the log.
        tell_spoken: with logprobs, tell which tokens are those of the content.

    Raises:
        ClientError: the request cannot be done; nothing was started. `param` is a field of ChatRequest.
        NotFoundError: there is no such model. OverloadedError, NotReadyError: not now.
    """
    service.check_model(body.model)
    _check(body)
    check_tools(body, can_read_calls=service.parsers.tool is not None)
    refuse_unsupported(body, honoured=HONOURED)
    service.admit()
    text = await rendered(body, service)
    params = sampling_params(
        body,
        max_tokens=_max_tokens(body, service),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        defaults=service.defaults,
    )
    _add_parsing(body, service, params, text)
    outputs = await service.submit(request, body, text, params, public_id, bool(body.add_special_tokens))
    return Conversation(body, service, outputs, params, text, tell_spoken=tell_spoken)


def _add_parsing(body: ChatRequest, service: Service, params: SamplingParams, prompt: str) -> None:
    """What the parsers need of the engine: their markers in the text, the form of calls, and where reasoning ends."""
    parsers = service.parsers
    params.structured_outputs = constraint_of_tools(body, parsers.call_form, params.structured_outputs)
    params.kept_special_token_ids = service.marker_ids(bool(body.tools) and body.tool_choice != "none")
    budget = None if body.thinking_token_budget == -1 else body.thinking_token_budget
    if budget is not None:
        if budget < 0:
            text = "thinking_token_budget must be a non-negative integer or -1 for unlimited."
            raise ClientError(text, "thinking_token_budget", budget)
        if parsers.reasoning is None:
            raise ClientError("thinking_token_budget needs --reasoning-parser.", "thinking_token_budget")
    if budget is None and params.structured_outputs is None:
        return
    if body.use_beam_search:
        name = "thinking_token_budget" if budget is not None else "tools"
        raise ClientError(f"{name} cannot bind the answers of a beam search.", name)
    place = parsers.reasoning_place(prompt, template_kwargs(body, service), final_text(body))
    tokenizer = service.tokenizer
    if place is None or tokenizer is None:
        return
    params.thinking = ThinkingParams(
        opened=place.opened,
        start=tokenizer.encode(place.start, add_special_tokens=False),
        end=tokenizer.encode(place.end, add_special_tokens=False),
        forced_end=tokenizer.encode(place.forced_end, add_special_tokens=False),
        budget=budget,
    )


def _check(body: ChatRequest) -> None:
    top = body.top_logprobs
    if top is not None:
        if top < -1:
            raise ClientError("`top_logprobs` must be a positive value or -1.", "top_logprobs", top)
        if top != 0 and not body.logprobs:
            raise ClientError("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")


def _max_tokens(body: ChatRequest, service: Service) -> int | None:
    given: Any = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    given = checked_max_tokens(given, service.max_model_len)
    return service.defaults.get("max_tokens") if given is None else given
