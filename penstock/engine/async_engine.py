"""AsyncLLM: the engine as a server sees it, on one asyncio event loop.

Tokenizes and checks requests, sends them to an engine core in a process of its own, and hands outputs to whoever waits
for them. A dead core ends every open request with an EngineDeadError and is started again within a budget. Everything
here runs on the loop that `start` was called on; nothing blocks it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from penstock.config.engine_config import EngineConfig
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.engine.core_client import CoreClient, RestartBudget
from penstock.engine.input_processor import InputProcessor, Prompt
from penstock.engine.messages import AbortRequests, CoreOutputs, Ready
from penstock.engine.output_processor import OutputProcessor
from penstock.engine.request_state import OpenRequest
from penstock.errors import EngineDeadError, NotReadyError
from penstock.observability.logging import get_logger
from penstock.observability.stats import StatsRecorder
from penstock.outputs import RequestOutput
from penstock.params import SamplingParams
from penstock.tokenizers.chat_template import ChatTemplate
from penstock.tokenizers.tokenizer import Tokenizer

logger = get_logger(__name__)

OUTPUTS_PER_TURN = 128  # outputs handled before other tasks of the loop get their turn


class AsyncLLM:
    """An engine core process and the requests it works on.

    Args:
        config: everything decided.
        stats: what is counted goes here; None counts nothing.

    Attributes:
        config, stats: as given.
        tokenizer: None with --skip-tokenizer-init.
        chat_template: the model's own; `.exists` says whether there is one.
        loading: (what, fraction) of the last progress report while the model loads.
        ready_info: sizes the core reported when it was ready, None before.
    """

    def __init__(self, config: EngineConfig, stats: StatsRecorder | None = None):
        ...

    @classmethod
    def from_engine_args(cls, args: EngineArgs, stats: StatsRecorder | None = None) -> AsyncLLM:
        """Decide the configuration and read the tokenizer; starts nothing."""
        return cls(resolve(args, usage="server"), stats)

    @classmethod
    def from_config(cls, config: EngineConfig, stats: StatsRecorder | None = None) -> AsyncLLM:
        return cls(config, stats)

    # Life

    async def start(self) -> None:
        """Spawn the engine core; returns at once, while the model loads."""

    async def wait_ready(self) -> None:
        """Wait until requests can be taken.

        Raises:
            StartError: the core says that it cannot start; one sentence.
            EngineDeadError: it died while it started, or did not answer in time.
        """

    @property
    def is_ready(self) -> bool:
        """The model is loaded and the core is alive."""
        raise NotImplementedError

    @property
    def is_running(self) -> bool:
        """Started, not shut down, and not given up; also true while the core loads or is started again."""
        raise NotImplementedError

    @property
    def is_stopped(self) -> bool:
        raise NotImplementedError

    @property
    def errored(self) -> bool:
        """The core died and will not be started again."""
        raise NotImplementedError

    @property
    def dead_error(self) -> EngineDeadError:
        """The error that open requests of a dead core end with."""
        raise NotImplementedError

    async def check_health(self) -> None:
        """
        Raises:
            EngineDeadError: given up for good.
            NotReadyError: loading, restarting or stopped.
        """

    async def shutdown(self) -> None:
        """Stop the core; open requests end with an EngineDeadError. Safe to call twice."""

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
        add_special_tokens: bool = True,
        truncate_prompt_tokens: int | None = None,
    ) -> RequestStream:
        """Check, tokenize and send a request: errors of the caller come from here, before any output.

        Args:
            prompt: text, token ids, or {"prompt" | "prompt_token_ids": ..., "cache_salt"?: ...}.
            sampling_params: None for the model's defaults. Not changed.
            request_id: the caller's name for it, echoed in outputs; need not be unique.
            priority: lower runs first, under the priority policy.
            deadline: `time.monotonic()` seconds after which the request ends with a DeadlineError, running or not.
            add_special_tokens: for text prompts; False for the text of a chat template.
            truncate_prompt_tokens: keep that many of the prompt's last tokens; -1 keeps what the context holds.

        Raises:
            ClientError: the request cannot be done.
            NotReadyError: the model is loading, or the engine is stopping.
            EngineDeadError: the engine is gone for good.
        """
        raise NotImplementedError

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

    async def call(self, method: str, *args: Any) -> Any:
        """Run a method of the core (`EngineCore.CALLABLE`) and wait for its result.

        Raises:
            ClientError: there is no such method, or it refused. EngineDeadError: the core died.
        """

    async def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; False if blocks are in use."""
        return bool(await self.call("reset_prefix_cache"))

    def get_default_sampling_params(self) -> SamplingParams:
        """Sampling parameters with the model's own defaults (generation_config.json)."""
        raise NotImplementedError

    @property
    def num_unfinished(self) -> int:
        """Answers that are open: a request with n answers counts n."""
        raise NotImplementedError

    @property
    def num_prefill_tokens(self) -> int:
        """Prompt tokens of open requests that have no output yet."""
        raise NotImplementedError

    async def wait_for_requests_to_drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is open; False if that took longer than `timeout` seconds."""
        raise NotImplementedError


class RequestStream:
    """The outputs of one request, as an async iterator.

    Attributes:
        request_id: the caller's.
        prompt_token_ids: what runs.
    """

    async def __anext__(self) -> RequestOutput:
        raise NotImplementedError

    def __aiter__(self) -> RequestStream:
        return self

    def close(self) -> None:
        """Abort the request in the core if it is still open. Safe to call at any time, twice, and after the end."""


AsyncLLMEngine = AsyncLLM
