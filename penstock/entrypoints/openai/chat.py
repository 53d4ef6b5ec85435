"""POST /v1/chat/completions: messages through the template, one request to the engine, one answer or a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.entrypoints.openai.answers import ChatChoice, ChatCompletion, ChatMessage
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.chat_stream import ChatStream
from penstock.entrypoints.openai.errors import BodyError
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.guard import Guard
from penstock.entrypoints.openai.logprobs import chat_logprobs, prompt_logprobs
from penstock.entrypoints.openai.sampling import checked_max_tokens, refuse_unsupported, sampling_params
from penstock.entrypoints.openai.service import OutputStream, Service, last_output
from penstock.entrypoints.openai.sse import EventStream
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError, EngineError, UnsupportedError
from penstock.outputs import CompletionOutput, RequestOutput
from penstock.params import SamplingParams

Json = dict[str, Any]

# What a template is given in other ways than by chat_template_kwargs.
TEMPLATE_ARGUMENTS = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"}

RENDER_INLINE_MESSAGES = 128  # some 30 us each; longer chats are rendered on a thread

_decoder = msgspec.json.Decoder(ChatRequest)
_encode = msgspec.json.Encoder().encode


async def chat_completions(request: Request, front: Front) -> Response:
    """Handler of the route."""
    service = front.service
    body = await read_body(request, _decoder)
    model = service.check_model(body.model)
    _check(body)
    refuse_unsupported(body)
    service.admit()
    text = await rendered(body, service)
    params = sampling_params(
        body,
        max_tokens=_max_tokens(body, service),
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        defaults=service.defaults,
    )
    public_id = "chatcmpl-" + service.public_id(request, body)
    outputs = await service.submit(request, body, text, params, public_id, bool(body.add_special_tokens))
    answer = ChatAnswer(body, service, public_id, model, outputs.prompt_token_ids)
    if body.stream:
        return EventStream(answer.events(outputs, params), outputs.close, service.keep_alive_s)
    async with Guard(request.receive):
        output = await last_output(outputs)
    return Response(_encode(answer.whole(output)), media_type="application/json")


async def rendered(body: ChatRequest, service: Service) -> str:
    """The prompt text of a chat, made without holding up the event loop."""
    if len(body.messages) <= RENDER_INLINE_MESSAGES:
        return _render(body, service)
    return await asyncio.to_thread(_render, body, service)


def _render(body: ChatRequest, service: Service) -> str:
    template = service.template
    if body.chat_template is not None:
        if not service.trust_request_template:
            raise ClientError(
                "Chat template is passed with request, but --trust-request-chat-template is not set. Refused.",
                "chat_template",
            )
        template = template.replaced(body.chat_template)
    variables = {**service.template_kwargs, **(body.chat_template_kwargs or {})}
    taken = sorted(TEMPLATE_ARGUMENTS & variables.keys())
    if taken:
        raise ClientError(f"{taken[0]} cannot be set in chat_template_kwargs.", "chat_template_kwargs")
    if body.reasoning_effort is not None:
        variables["reasoning_effort"] = body.reasoning_effort
    try:
        return template.render(
            [_message(m, i) for i, m in enumerate(body.messages)],
            body.tools or None,
            add_generation_prompt=body.add_generation_prompt is not False,
            continue_final_message=bool(body.continue_final_message),
            documents=body.documents,
            chat_template_kwargs=variables,
        )
    except UnsupportedError as e:  # a picture for a model that reads text: the request is at fault, not the server
        raise ClientError(e.message, e.param) from None


class ChatAnswer:
    """Makes answers for one chat request.

    Args:
        prompt_ids: the prompt's tokens.
    """

    def __init__(self, body: ChatRequest, service: Service, public_id: str, model: str, prompt_ids: list[int]):
        self._body = body
        self._service = service
        self._id = public_id
        self._model = model
        self._prompt_ids = prompt_ids
        self._created = int(time.time())
        self._role = service.response_role
        if body.continue_final_message or body.add_generation_prompt is False:
            self._role = str(body.messages[-1].get("role"))
        self._echo = _final_text(body) if body.echo else ""
        self._top = body.top_logprobs or 0
        as_ids = body.return_tokens_as_token_ids
        self._as_ids = service.tokens_as_ids if as_ids is None else as_ids

    def whole(self, output: RequestOutput) -> ChatCompletion:
        """The answer to a request that does not stream."""
        body = self._body
        done = sum(len(o.token_ids) for o in output.outputs)
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[self._choice(o) for o in output.outputs],
            usage=self._service.usage(len(self._prompt_ids), done, output.num_cached_tokens),
            system_fingerprint=self._service.fingerprint,
            prompt_logprobs=prompt_logprobs(output.prompt_logprobs),
            prompt_token_ids=self._prompt_ids if body.return_token_ids else None,
        )

    def _choice(self, out: CompletionOutput) -> ChatChoice:
        if out.finish_reason == "error":
            raise EngineError("the engine failed on this request")
        logprobs = None
        if self._body.logprobs and out.logprobs is not None:
            logprobs = chat_logprobs(out.token_ids, out.logprobs, self._top, as_ids=self._as_ids)
        return ChatChoice(
            index=out.index,
            message=ChatMessage(self._role, self._echo + out.text),
            logprobs=logprobs,
            finish_reason=out.finish_reason,
            stop_reason=out.stop_reason,
            token_ids=out.token_ids if self._body.return_token_ids else None,
        )

    async def events(self, outputs: OutputStream, params: SamplingParams) -> AsyncIterator[bytes]:
        """The answer as events, without the final [DONE]."""
        usage_at_end, usage_always = self._service.stream_usage(self._body)
        stream = ChatStream(
            service=self._service,
            head={"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model},
            role=self._role,
            echo=self._echo,
            n=params.n,
            prompt_ids=self._prompt_ids,
            top_logprobs=self._top if self._body.logprobs else None,
            as_ids=self._as_ids,
            with_ids=bool(self._body.return_token_ids),
            usage_always=usage_always,
            usage_at_end=usage_at_end,
        )
        async for output in outputs:
            chunk = stream.chunks(output)
            if chunk:
                yield chunk
            if output.finished:
                break
        end = stream.end()
        if end:
            yield end


def _check(body: ChatRequest) -> None:
    """Combinations of fields that only chat has."""
    top = body.top_logprobs
    if top is not None:
        if top < -1:
            raise ClientError("`top_logprobs` must be a positive value or -1.", "top_logprobs", top)
        if top != 0 and not body.logprobs:
            raise ClientError("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")
    if body.continue_final_message and body.add_generation_prompt:
        raise ClientError(
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.", "continue_final_message"
        )
    if body.continue_final_message:
        body.add_generation_prompt = False
    if not body.messages:
        raise ClientError("messages must not be empty.", "messages")
    if body.media_io_kwargs or body.mm_processor_kwargs:
        raise ClientError("this model takes text only; media options are refused.", "mm_processor_kwargs")
    _check_tools(body)


def _check_tools(body: ChatRequest) -> None:
    choice = body.tool_choice
    if not body.tools:
        if choice is not None and choice not in ("none", "auto"):
            raise ClientError("When using `tool_choice`, `tools` must be set.", "tool_choice")
        return
    names = [t.get("function", {}).get("name") for t in body.tools if isinstance(t.get("function"), dict)]
    if len(names) != len(body.tools) or not all(isinstance(n, str) for n in names):
        raise ClientError("each of `tools` must be an object with a function and its name.", "tools")
    if choice is None or choice == "auto":
        raise ClientError(
            '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', "tool_choice"
        )
    if choice == "none":
        return
    if choice != "required" and not (isinstance(choice, dict) and choice.get("type") == "function"):
        raise ClientError(
            f'Invalid value for `tool_choice`: {str(choice)[:80]}! Only named tools, "none", "auto" or '
            '"required" are supported.',
            "tool_choice",
        )
    if isinstance(choice, dict) and (choice.get("function") or {}).get("name") not in names:
        raise ClientError(
            "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"
        )
    raise ClientError(
        "a forced `tool_choice` needs structured outputs, which this server does not support.", "tool_choice"
    )


def _message(message: Json, index: int) -> Json:
    """With a role, and the reasoning under both of its names."""
    role = message.get("role")
    if not isinstance(role, str):
        loc = f"body.messages.{index}.role"
        kind, text = ("missing", "Field required") if role is None else ("type_error", "Expected `str`")
        raise BodyError(f"1 validation error:\n  {{'type': '{kind}', 'loc': '{loc}', 'msg': '{text}'}}", loc)
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if reasoning is None:
        return message
    return {**message, "reasoning": reasoning, "reasoning_content": reasoning}


def _max_tokens(body: ChatRequest, service: Service) -> int | None:
    given = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    given = checked_max_tokens(given, service.max_model_len)
    return service.defaults.get("max_tokens") if given is None else given


def _final_text(body: ChatRequest) -> str:
    """What `echo` repeats: the last message, if the answer continues it."""
    content = body.messages[-1].get("content") if body.continue_final_message else None
    if isinstance(content, list):
        content = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    return content or ""
