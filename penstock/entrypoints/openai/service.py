"""Service: what the route handlers share: the engine, the model's names and template, limits, and ids.

One per app. Handlers never see the options of the command line; what they need is decided here.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

from starlette.requests import Request

from penstock.config.engine_config import EngineConfig
from penstock.config.sections import ServerArgs
from penstock.engine.input_processor import checked_salt
from penstock.engine.pooling_request import Ids, PoolingInputs
from penstock.entrypoints.openai.answers import CompletionTokensDetails, PromptTokensDetails, Usage
from penstock.entrypoints.openai.beams import open_beams
from penstock.entrypoints.openai.fingerprint import fingerprint
from penstock.entrypoints.openai.parser_options import answer_parsers
from penstock.entrypoints.openai.pooling_types import PoolingFields
from penstock.entrypoints.openai.prompts import Prompt, truncated
from penstock.entrypoints.openai.structured import in_the_words_of
from penstock.entrypoints.openai.types import SamplingFields
from penstock.errors import ClientError, EngineError, NotFoundError, OverloadedError
from penstock.observability.logging import get_logger
from penstock.observability.stats import StatsRecorder
from penstock.outputs import PoolingRequestOutput, RequestOutput
from penstock.params import PoolingParams, SamplingParams
from penstock.tokenizers.chat_template import ChatTemplate, read_template_option
from penstock.tokenizers.template_process import TemplateProcess
from penstock.tokenizers.tokenizer import Tokenizer

log = get_logger(__name__)

MAX_ID_CHARS = 256
TENANT = "penstock.tenant"  # scope key: the namespace of the prefix cache that belongs to the request's API key


class OutputStream(Protocol):
    """Outputs of one request; closing it aborts what is still open. Its reader waits, or listens and takes."""

    prompt_token_ids: list[int]

    def __aiter__(self) -> OutputStream: ...

    async def __anext__(self) -> RequestOutput: ...

    def listen(self, wake: Callable[[], None]) -> None: ...

    def take(self) -> RequestOutput | None: ...

    def close(self) -> None: ...


class PoolingStream(Protocol):
    """The output of one pooling request."""

    def __aiter__(self) -> PoolingStream: ...

    async def __anext__(self) -> PoolingRequestOutput: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """What the server asks of an engine; `AsyncLLM` is one."""

    config: EngineConfig
    tokenizer: Tokenizer | None
    chat_template: ChatTemplate

    @property
    def num_unfinished(self) -> int: ...

    @property
    def num_prefill_tokens(self) -> int: ...

    @property
    def is_ready(self) -> bool: ...

    async def submit(
        self,
        prompt: Any,
        sampling_params: SamplingParams,
        request_id: str,
        *,
        priority: int = 0,
        cache_salt: str | None = None,
        deadline: float | None = None,
        start_by: float | None = None,
        add_special_tokens: bool = True,
        truncate_prompt_tokens: int | None = None,
    ) -> OutputStream: ...

    async def submit_pooling(
        self,
        ids: Ids,
        pooling_params: PoolingParams | None,
        request_id: str,
        *,
        priority: int = 0,
        cache_salt: str | None = None,
        deadline: float | None = None,
        start_by: float | None = None,
    ) -> PoolingStream: ...

    async def call(self, method: str, *args: Any) -> Any: ...

    async def sleep(self, level: int, mode: str) -> None: ...

    async def wake_up(self, tags: list[str] | None) -> bool: ...

    async def is_sleeping(self) -> bool: ...

    async def check_health(self) -> None: ...


class Service:
    """Shared by the handlers of one app.

    Args:
        engine: may still be loading.
        args: options of the server.
        stats: what the engine counts.
    """

    def __init__(self, engine: Engine, args: ServerArgs, stats: StatsRecorder):
        config = engine.config.model
        self.engine = engine
        self.config = engine.config
        self.stats = stats
        self.created = int(time.time())
        self.model_names = config.served_names
        self.model_root = config.path
        self.max_model_len = config.max_model_len
        self.defaults = {**config.generation_defaults, "stream_interval": args.stream_interval}
        self.tokenizer = engine.tokenizer
        self.template = _template(engine.chat_template, args)
        self.pair_template = self.template if args.chat_template else None  # of a query and a document
        self.pooling_inputs = None if engine.config.pooling is None else PoolingInputs(engine.config)
        self.template_process = TemplateProcess()
        self.trust_request_template = args.trust_request_chat_template
        self.template_kwargs = args.default_chat_template_kwargs or {}
        self.parsers = answer_parsers(args, self.template, self.tokenizer)
        self.exclude_unused_tools = args.exclude_tools_when_tool_choice_none
        self.response_role = args.response_role
        self.tokens_as_ids = args.return_tokens_as_token_ids
        self.cached_tokens_in_usage = args.enable_prompt_tokens_details
        self.force_usage = args.enable_force_include_usage
        self.keep_alive_s = args.sse_keep_alive_interval
        self._marker_ids = [_ids_of(self.parsers.markers(tools), self.tokenizer) for tools in (False, True)]
        self.fingerprint = fingerprint(engine.config, self.template.sources)
        self._max_queued = args.max_num_queued_reqs
        self._max_queued_tokens = args.max_num_queued_tokens
        self._max_queue_time = args.max_queue_time
        self._request_timeout = args.request_timeout
        self._log_requests = args.enable_log_requests
        self._max_log_len = args.max_log_len

    def check_model(self, name: str | None) -> str:
        """The name to echo for a request that names `name`."""
        if name is None or name in self.model_names:
            return name or self.model_names[0]
        raise NotFoundError(f"The model `{name}` does not exist.", "model")

    def admit(self) -> None:
        """Refuse a request if too many are waiting already."""
        if self._max_queued and self.engine.num_unfinished >= self._max_queued:
            self.stats.rejected("max_num_queued_reqs")
            raise OverloadedError("The engine is currently busy and cannot accept new requests. Try again later.")
        if self._max_queued_tokens and self.engine.num_prefill_tokens >= self._max_queued_tokens:
            self.stats.rejected("max_num_queued_tokens")
            raise OverloadedError("The engine has reached its prefill token backlog limit. Try again later.")

    async def submit(
        self,
        request: Request,
        body: SamplingFields,
        prompt: Prompt,
        params: SamplingParams,
        public_id: str,
        special: bool,
    ) -> OutputStream:
        """Send a prompt to the engine.

        Args:
            special: whether the tokenizer puts the model's own tokens around a text.

        Raises:
            ClientError: the request cannot be done; nothing was started.
        """
        prompt, keep = await truncated(
            prompt, body.truncate_prompt_tokens, body.truncation_side, self.tokenizer, special
        )
        options: dict[str, Any] = {
            "priority": body.priority or 0,
            "cache_salt": self._cache_salt(request, body),
            "deadline": self._deadline(request),
        }

        async def submit_prompt(params: SamplingParams) -> OutputStream:
            return await self.engine.submit(
                prompt,
                params,
                uuid.uuid4().hex,
                **options,
                start_by=None if self._max_queue_time is None else time.monotonic() + self._max_queue_time,
                add_special_tokens=special,
                truncate_prompt_tokens=keep,
            )

        async def submit_ids(ids: list[int], params: SamplingParams) -> OutputStream:
            return await self.engine.submit(ids, params, uuid.uuid4().hex, **options)

        if body.use_beam_search:
            model = self.config.model
            stream: OutputStream = await open_beams(submit_prompt, submit_ids, body, params, model, self.tokenizer)
        else:
            with in_the_words_of(body):
                stream = await submit_prompt(params)
        self._log_request(public_id, prompt, stream.prompt_token_ids, params)
        return stream

    async def submit_pooling(
        self, request: Request, body: PoolingFields, ids: Ids, params: PoolingParams, public_id: str
    ) -> PoolingStream:
        """Send token ids to an engine that pools.

        Raises:
            ClientError: the request cannot be done; nothing was started.
        """
        stream = await self.engine.submit_pooling(
            ids,
            params,
            uuid.uuid4().hex,
            priority=body.priority or 0,
            cache_salt=self._cache_salt(request, body),
            deadline=self._deadline(request),
            start_by=None if self._max_queue_time is None else time.monotonic() + self._max_queue_time,
        )
        self._log_request(public_id, ids.token_ids, ids.token_ids, params)
        return stream

    def public_id(self, request: Request, fields: SamplingFields | PoolingFields) -> str:
        """The id that the client sees: its own, or a new one. The engine's ids are always ours."""
        given = request.headers.get("x-request-id") or fields.request_id
        return given[:MAX_ID_CHARS] if given else uuid.uuid4().hex

    def _deadline(self, request: Request) -> float | None:
        """Monotonic time at which the request must be answered."""
        limit = self._request_timeout
        header = request.headers.get("x-request-timeout-ms")
        if header is not None:
            if not (header.isascii() and header.isdecimal() and 0 < int(header[:16]) < 10**12):
                raise ClientError("the header X-Request-Timeout-Ms must be a positive number of milliseconds.")
            limit = min(int(header) / 1000, limit or float("inf"))
        return None if limit is None else time.monotonic() + limit

    def _cache_salt(self, request: Request, fields: SamplingFields | PoolingFields) -> str | None:
        """Namespace of the prefix cache: per API key if there are several, and what the request asks for."""
        salt, tenant = checked_salt(fields.cache_salt), request.scope.get(TENANT)
        if salt is None or tenant is None:
            return salt or tenant
        return hashlib.sha256(f"{tenant}@{salt}".encode()).hexdigest()

    def _log_request(
        self, public_id: str, prompt: Prompt, ids: list[int], params: SamplingParams | PoolingParams
    ) -> None:
        """One line per request with --enable-log-requests."""
        if self._log_requests:
            shown = slice(self._max_log_len)
            text = prompt[shown] if isinstance(prompt, str) else None
            log.info("Received request %s: prompt: %r, params: %s, token ids: %s", public_id, text, params, ids[shown])

    def marker_ids(self, with_tools: bool) -> list[int] | None:
        """Special tokens that must reach the parsers of an answer as text.

        Args:
            with_tools: whether the request has tools that the model may call.
        """
        return self._marker_ids[with_tools]

    def usage(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int | None,
        reasoning_tokens: int | None = None,
    ) -> Usage:
        """Args: reasoning_tokens: None where nobody counts them."""
        usage = Usage(prompt_tokens, prompt_tokens + completion_tokens, completion_tokens)
        if reasoning_tokens is not None:
            usage.completion_tokens_details = CompletionTokensDetails(reasoning_tokens)
        if self.cached_tokens_in_usage:
            usage.prompt_tokens_details = PromptTokensDetails(cached_tokens or 0)
        return usage

    def stream_usage(self, fields: SamplingFields) -> tuple[bool, bool]:
        """Whether a stream ends with usage, and whether every chunk carries it."""
        if self.force_usage:
            return True, True
        options = fields.stream_options
        include = bool(options and options.include_usage)
        return include, include and bool(options and options.continuous_usage_stats)


def _template(template: ChatTemplate, args: ServerArgs) -> ChatTemplate:
    source = read_template_option(args.chat_template) if args.chat_template else None
    if source is not None and template.exists and source not in template.sources.values():
        log.warning(
            "The template of --chat-template is not the one that the model brings. If the model was not trained with "
            "it, answers will be worse."
        )
    return template.replaced(source, args.chat_template_content_format)


def _ids_of(markers: tuple[str, ...], tokenizer: Tokenizer | None) -> list[int] | None:
    """The special tokens that are, or are in, one of the markers; None if there are none."""
    if tokenizer is None:
        return None
    texts = ((i, tokenizer.added_tokens[i]) for i in sorted(tokenizer.special_ids))
    return [i for i, text in texts if any(text in m for m in markers)] or None


async def last_output(outputs: OutputStream) -> RequestOutput:
    """The final output of a request; it is aborted if the wait is cancelled."""
    try:
        async for output in outputs:
            if output.finished:
                return output
    finally:
        outputs.close()
    raise EngineError("the engine ended a request without an answer")


async def last_outputs(streams: list[OutputStream]) -> list[RequestOutput]:
    """The final outputs of several requests; the first failure ends the wait for all."""
    if len(streams) == 1:
        return [await last_output(streams[0])]
    tasks = [asyncio.create_task(last_output(s)) for s in streams]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
