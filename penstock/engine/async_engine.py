"""AsyncLLM: the engine as a server sees it, on one asyncio event loop.

Tokenizes and checks requests, sends them to an engine core in a process of its own or on a thread, and tells whoever
waits or listens what comes back. A dead core ends every open request with an EngineDeadError; `supervisor.py` starts
the next one. Everything here runs on the loop that `start` was called on; nothing blocks it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

from penstock.config.engine_config import EngineConfig
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.engine.input_processor import InputProcessor, Prompt
from penstock.engine.messages import AbortRequests, AddRequest, CoreOutputs, Ready
from penstock.engine.output_processor import OutputProcessor
from penstock.engine.pooling_request import Ids, PoolingInputs
from penstock.engine.request_state import OpenRequest
from penstock.engine.request_stream import RequestStream
from penstock.engine.supervisor import CoreSupervisor
from penstock.errors import ClientError, DeadlineError, EngineDeadError, PenstockError
from penstock.observability.stats import StatsRecorder
from penstock.outputs import PoolingRequestOutput, RequestOutput
from penstock.params import PoolingParams, SamplingParams
from penstock.scheduler.plan import EngineOutput
from penstock.tokenizers.pair import Bounds, encode_inputs_async
from penstock.tokenizers.tokenizer import Tokenizer, chat_template_of

_HOLD_POLL_S = 0.02
OUTPUTS_PER_TURN = 128  # outputs handled before other tasks of the loop get their turn


class AsyncLLM:
    """An engine core process and the requests it works on.

    Args:
        config: everything decided.
        stats: what is counted goes here; None counts nothing.
        core_on_thread: run the core on a thread of this process.

    Attributes:
        config, stats: as given.
        tokenizer: None with --skip-tokenizer-init.
        chat_template: the model's own; `.exists` says whether there is one.
    """

    def __init__(self, config: EngineConfig, stats: StatsRecorder | None = None, core_on_thread: bool = False):
        self.config = config
        self.stats = stats
        path = config.model.tokenizer_path
        self.tokenizer = None if path is None else Tokenizer.from_folder(path)
        self.chat_template = chat_template_of(self.tokenizer)
        self._inputs = InputProcessor.for_model(config.model, self.tokenizer, config.structured)
        self._pooling = None if config.pooling is None else PoolingInputs(config)
        self._outputs = OutputProcessor(stats)
        self._core = CoreSupervisor(config, self._on_outputs, self._fail_open, self._working_since, core_on_thread)
        self._pending: deque[EngineOutput] = deque()
        self._pump_scheduled = self._tell_scheduled = False
        self._last_submit = 0.0
        self._drained = asyncio.Event()

    @classmethod
    def from_engine_args(
        cls, args: EngineArgs, stats: StatsRecorder | None = None, core_on_thread: bool = False
    ) -> AsyncLLM:
        """Decide the configuration and read the tokenizer; starts nothing."""
        return cls(resolve(args, usage="server"), stats, core_on_thread)

    @classmethod
    def from_config(cls, config: EngineConfig, stats: StatsRecorder | None = None) -> AsyncLLM:
        return cls(config, stats)

    # Life

    async def start(self) -> None:
        """Spawn the engine core; returns at once, while the model loads."""
        self._core.start()

    async def wait_ready(self) -> None:
        """Wait until requests can be taken.

        Raises:
            StartError: the core says that it cannot start; one sentence.
            EngineDeadError: it died while it started, or did not answer in time.
        """
        await self._core.wait_ready()

    @property
    def is_ready(self) -> bool:
        """The model is loaded and the core is alive."""
        return self._core.is_ready

    @property
    def is_running(self) -> bool:
        """Started, not shut down, and not given up; also true while the core loads or is started again."""
        return not self.is_stopped and not self.errored

    @property
    def is_stopped(self) -> bool:
        """Not started yet, or shut down."""
        return self._core.is_stopped

    @property
    def errored(self) -> bool:
        """The core died and will not be started again."""
        return self._core.fatal is not None

    @property
    def dead_error(self) -> EngineDeadError:
        """The error that open requests of a dead core end with."""
        return self._core.last_death or EngineDeadError("The engine is gone.")

    @property
    def loading(self) -> tuple[str, float]:
        """What the core does while it loads, and the share done."""
        return self._core.loading

    @property
    def ready_info(self) -> Ready | None:
        """What the core reported when it was ready."""
        return self._core.ready_info

    @property
    def core_pid(self) -> int | None:
        """The process that runs the model."""
        return self._core.pid

    async def check_health(self) -> None:
        """
        Raises:
            EngineDeadError: given up for good.
            NotReadyError: loading, restarting or stopped.
        """
        self._core.check()

    async def shutdown(self) -> None:
        """Stop the core; open requests end with an EngineDeadError. Safe to call twice."""
        self._fail_open(EngineDeadError("The engine was shut down."))
        await self._core.stop()

    def close(self) -> None:
        """As `shutdown`, at once and without an event loop's help: for exits."""
        self._fail_open(EngineDeadError("The engine was shut down."))
        self._core.kill()

    def _fail_open(self, error: EngineDeadError) -> None:
        """The core is gone, or goes: every open request ends now."""
        self._pending.clear()
        self._outputs.fail_all(error, time.monotonic())
        self._check_drained()

    def _working_since(self) -> float | None:
        return self._last_submit if self._outputs.num_unfinished else None

    # Requests

    async def submit(
        self,
        prompt: Prompt,
        sampling_params: SamplingParams | None,
        request_id: str,
        *,
        priority: int = 0,
        cache_salt: str | None = None,
        deadline: float | None = None,
        start_by: float | None = None,
        add_special_tokens: bool = True,
        truncate_prompt_tokens: int | None = None,
    ) -> RequestStream[RequestOutput]:
        """Check, tokenize and send a request: errors of the caller come from here, before any output.

        Args:
            prompt: text, token ids, or {"prompt" | "prompt_token_ids": ..., "cache_salt"?: ...}.
            sampling_params: None for the model's defaults. Not changed.
            request_id: the caller's name for it, echoed in outputs; need not be unique.
            priority: lower runs first, under the priority policy.
            deadline: `time.monotonic()` seconds after which the request ends with a DeadlineError, running or not.
            start_by: likewise, but only for a request that has not begun to run.
            add_special_tokens: for text prompts; False for the text of a chat template.
            truncate_prompt_tokens: keep that many of the prompt's last tokens; -1 keeps what the context holds.

        Raises:
            ClientError: the request cannot be done.
            NotReadyError: the model is loading, or the engine is stopping.
            EngineDeadError: the engine is gone for good.
            DeadlineError: the deadline has passed already.
        """
        arrival_time = time.monotonic()
        self._core.check()
        if self._pooling is not None:
            raise ClientError("This model pools; it does not generate text.", "model")
        inputs = self._inputs
        parsed = inputs.parse(prompt)
        params = inputs.complete_params(sampling_params)
        if (check := inputs.begin_check(params)) is not None:
            await asyncio.wrap_future(check)
        ids = parsed.token_ids
        if ids is None:
            assert parsed.text is not None
            tokenizer = inputs.need_tokenizer()
            inputs.check_text(parsed.text, truncate_prompt_tokens is not None)
            ids = await tokenizer.encode_async(parsed.text, add_special_tokens)
        ids = inputs.truncate(ids, truncate_prompt_tokens)
        inputs.check_ids(ids)
        if deadline is not None and deadline <= time.monotonic():
            raise DeadlineError("The request's deadline passed before it was started.")
        self._core.check()  # it may have changed while a long prompt was tokenized
        request, messages = inputs.open_request(
            request_id,
            parsed,
            ids,
            params,
            arrival_time=arrival_time,
            priority=priority,
            cache_salt=cache_salt,
            deadline=min((t for t in (deadline, start_by) if t is not None), default=None),
        )
        stream = RequestStream(request, request.take, self._abort_request)
        self._send(request, messages)
        if deadline is not None:
            stream.end_at(deadline)
        return stream

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
    ) -> RequestStream[PoolingRequestOutput]:
        """As `submit`, for a model that pools: the stream has one output.

        Args:
            ids: what runs; `tokenizers/pair.py` makes it of texts.
            pooling_params: None for the model's defaults. Not changed.

        Raises:
            ClientError: the request cannot be done, or the model generates.
        """
        arrival_time = time.monotonic()
        self._core.check()
        if self._pooling is None:
            raise ClientError("This model generates text; it does not pool.", "model")
        params = self._pooling.complete(pooling_params)
        self._pooling.check_ids(ids.token_ids)
        if deadline is not None and deadline <= arrival_time:
            raise DeadlineError("The request's deadline passed before it was started.")
        request, message = self._pooling.open(
            request_id,
            ids,
            params,
            arrival_time=arrival_time,
            priority=priority,
            cache_salt=cache_salt,
            deadline=min((t for t in (deadline, start_by) if t is not None), default=None),
        )
        stream = RequestStream(request, request.take_pooled, self._abort_request)
        self._send(request, [message])
        if deadline is not None:
            stream.end_at(deadline)
        return stream

    def _send(self, request: OpenRequest, messages: list[AddRequest]) -> None:
        """Tell the core of a request."""
        self._outputs.add(request)
        self._drained.clear()
        if self._outputs.num_unfinished == len(messages):
            self._last_submit = time.monotonic()  # the core was idle until now
        for message in messages:
            self._core.send(message)

    async def encode(
        self,
        prompt: str | list[int],
        pooling_params: PoolingParams | None,
        request_id: str,
        *,
        add_special_tokens: bool = True,
        truncate_prompt_tokens: int | None = None,
        **options: Any,
    ) -> AsyncIterator[PoolingRequestOutput]:
        """Pool a text or token ids: one output. Options are those of `submit_pooling`."""
        ids = Ids(list(prompt)) if not isinstance(prompt, str) else None
        if self._pooling is not None and ids is None:
            assert isinstance(prompt, str)
            most = self._pooling.most_tokens(truncate_prompt_tokens)
            tokenizer, bounds = (
                self._inputs.need_tokenizer(),
                Bounds(
                    add_special_tokens,
                    most,
                    lowercase=self.config.pooling is not None and self.config.pooling.lowercase,
                ),
            )
            (encoded,) = await encode_inputs_async(tokenizer, [prompt], None, bounds)
            ids = Ids(*encoded)
        stream = await self.submit_pooling(ids or Ids([]), pooling_params, request_id, **options)
        try:
            async for output in stream:
                yield output
        finally:
            stream.close()

    async def generate(
        self,
        prompt: Prompt,
        sampling_params: SamplingParams | None,
        request_id: str,
        **options: Any,
    ) -> AsyncIterator[RequestOutput]:
        """`submit` and iterate. Leaving the loop, closing or cancelling the iterator aborts the request.

        Yields outputs as `sampling_params.output_kind` says; the last one has `finished`.

        Raises:
            DeadlineError: the request's deadline passed.
            EngineError: the engine failed on this request. EngineDeadError: the engine died.
        """
        stream = await self.submit(prompt, sampling_params, request_id, **options)
        try:
            async for output in stream:
                yield output
        finally:
            stream.close()

    async def abort(self, request_id: str | Iterable[str]) -> None:
        """End requests by their callers' ids; their streams get a last output with finish_reason "abort"."""
        ids = [request_id] if isinstance(request_id, str) else request_id
        self._send_aborts(self._outputs.abort_ids(ids, time.monotonic()))

    async def call(self, method: str, *args: Any) -> Any:
        """Run a method of the core (`EngineCore.CALLABLE`) and wait for its result.

        Raises:
            ClientError: there is no such method, or it refused.
            NotReadyError: the model is loading. EngineDeadError: the core died.
        """
        return await self._core.call(method, args)

    async def reset_prefix_cache(self, reset_running_requests: bool = False) -> bool:
        """Forget cached prefixes; False if blocks are in use, unless those that use them may start again."""
        return bool(await self.call("reset_prefix_cache", reset_running_requests))

    async def sleep(self, level: int = 1, mode: str = "abort") -> None:
        """Let the engine go of memory until `wake_up`; requests that come meanwhile wait.

        Args:
            level: 0 keeps all memory; 1 frees the KV pool and moves weights to host memory; 2 frees both.
            mode: what runs is aborted ("abort"), finishes first ("wait"), or starts again afterwards and gets the same
                tokens ("keep").

        Raises:
            ClientError: there is no sleep mode without --enable-sleep-mode, or no such level or mode.
        """
        if mode == "wait":
            await _until_all_ended(self.call, level)
        await self.call("sleep", level, mode)

    async def wake_up(self, tags: list[str] | None = None) -> bool:
        """Get memory back: "weights", "kv_cache", or all; whether the engine is awake now.

        Raises:
            ClientError: a tag is unknown, or the memory is not to be had; it sleeps on.
        """
        return bool(await self.call("wake_up", tags))

    async def is_sleeping(self) -> bool:
        return bool(await self.call("is_sleeping"))

    def get_default_sampling_params(self) -> SamplingParams:
        """Sampling parameters with the model's own defaults (generation_config.json)."""
        return self._inputs.default_sampling_params()

    @property
    def num_unfinished(self) -> int:
        """Answers that are open: a request with n answers counts n."""
        return self._outputs.num_unfinished

    @property
    def num_prefill_tokens(self) -> int:
        """Prompt tokens of open answers that have no output yet."""
        return self._outputs.num_prefill_tokens

    async def wait_for_requests_to_drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is open; False if that took longer than `timeout` seconds."""
        if not self._outputs.num_unfinished:
            return True
        try:
            await asyncio.wait_for(self._drained.wait(), timeout)
        except TimeoutError:
            return False
        return True

    def _abort_request(self, request: OpenRequest, error: PenstockError | None) -> None:
        self._send_aborts(self._outputs.abort(request, time.monotonic(), error))

    def _send_aborts(self, core_ids: list[str]) -> None:
        if core_ids:
            self._core.send(AbortRequests(core_ids))
        self._check_drained()

    def _check_drained(self) -> None:
        if not self._outputs.num_unfinished:
            self._drained.set()

    def _on_outputs(self, message: CoreOutputs) -> None:
        if message.stats is not None:
            self._outputs.step_stats(message.stats)
        self._pending.extend(message.outputs)
        if not self._pump_scheduled:
            self._pump()

    def _pump(self) -> None:
        """Handle some outputs; the rest after other tasks had their turn."""
        pending = self._pending
        turn = [pending.popleft() for _ in range(min(len(pending), OUTPUTS_PER_TURN))]
        self._send_aborts(self._outputs.process(turn, time.monotonic()))
        self._pump_scheduled = bool(pending)
        loop = asyncio.get_running_loop()
        if not self._tell_scheduled:  # readers that are behind get what several messages brought in one piece
            self._tell_scheduled = True
            loop.call_soon(self._tell)
        if pending:
            loop.call_soon(self._pump)

    def _tell(self) -> None:
        self._tell_scheduled = False
        self._outputs.tell()


AsyncLLMEngine = AsyncLLM


async def _until_all_ended(call: Callable[..., Awaitable[Any]], level: int) -> None:
    """Hold new requests until those that run have ended, ahead of a sleep of this level."""
    try:
        while await call("hold_new", level):
            await asyncio.sleep(_HOLD_POLL_S)
    except asyncio.CancelledError:  # nobody will sleep: let what waits run
        await asyncio.shield(call("wake_up", []))
        raise
