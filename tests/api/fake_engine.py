"""An engine at the seam below the server: it says a fixed sentence, at a chosen pace, and counts what is open."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.config.engine_config import CacheConfig, DeviceConfig, EngineConfig, ModelConfig, SchedulerConfig
from penstock.config.shape import ModelShape, Rope
from penstock.engine.input_processor import InputProcessor, checked_salt
from penstock.errors import (
    DeadlineError,
    EngineDeadError,
    EngineError,
    NotReadyError,
    PenstockError,
)
from penstock.outputs import CompletionOutput, Logprob, PositionLogprobs, RequestOutput
from penstock.params import RequestOutputKind, SamplingParams
from penstock.tokenizers.tokenizer import Tokenizer, chat_template_of

MODEL = Path(__file__).resolve().parents[2] / "penstock" / "assets" / "tiny"
MAX_MODEL_LEN = 256
SENTENCE = "The quick brown fox jumps over the lazy dog and then it sleeps for a while."
SHAPE = ModelShape("Qwen3ForCausalLM", 8192, 64, 128, 2, 2, 1, 32, 1e-6, MAX_MODEL_LEN, Rope())


def config() -> EngineConfig:
    names = ("fake", "fake-alias")
    return EngineConfig(
        model=ModelConfig(
            model="fake",
            path=str(MODEL),
            tokenizer_path=str(MODEL),
            served_names=names,
            shape=SHAPE,
            dtype="float32",
            max_model_len=MAX_MODEL_LEN,
        ),
        cache=CacheConfig(block_size=16, dtype="float32"),
        scheduler=SchedulerConfig(max_num_seqs=16, max_num_batched_tokens=256),
        device=DeviceConfig(),
    )


class FakeEngine:
    """Knobs: `delay_s` before every output, `ready`, `errored`, `fail_after` outputs of every request (`failure` is
    how), what it `says`, and how many tokens it tells at once (`per_output`)."""

    def __init__(self) -> None:
        self.config = config()
        self.tokenizer = Tokenizer.from_folder(MODEL)
        self.inputs = InputProcessor.for_model(self.config.model, self.tokenizer)
        self.chat_template = chat_template_of(self.tokenizer)
        self.sentence = self.tokenizer.encode(SENTENCE)
        self.delay_s = 0.0
        self.per_output = 1
        self.ready = True
        self.errored = False
        self.fail_after: int | None = None
        self.failure: Exception = EngineError("broken on purpose")
        self.open: set[FakeStream] = set()
        self.submitted: list[tuple[list[int], SamplingParams, dict[str, Any]]] = []
        self.calls: list[str] = []
        self.stopped = False
        self._is_ready = asyncio.Event()

    def says(self, text: str) -> None:
        """From now on every answer is this text."""
        self.sentence = self.tokenizer.encode(text)

    async def start(self) -> None:
        self.stopped = False

    async def wait_ready(self) -> None:
        await asyncio.sleep(0)

    async def shutdown(self) -> None:
        self.stopped = True
        for stream in list(self.open):
            stream.fail(EngineDeadError("stopped"))

    @property
    def is_ready(self) -> bool:
        return self.ready and not self.errored

    async def check_health(self) -> None:
        if self.errored:
            raise EngineDeadError("dead")
        if not self.ready:
            raise NotReadyError("loading")

    @property
    def num_unfinished(self) -> int:
        return len(self.open)

    @property
    def num_prefill_tokens(self) -> int:
        return sum(len(s.prompt_token_ids) for s in self.open if not s.sent)

    async def call(self, method: str, *args: Any) -> Any:
        self.calls.append(method)
        return True

    async def submit(
        self,
        prompt: Any,
        sampling_params: SamplingParams,
        request_id: str,
        *,
        add_special_tokens: bool = True,
        truncate_prompt_tokens: int | None = None,
        **options: Any,
    ) -> FakeStream:
        ids = self.tokenizer.encode(prompt, add_special_tokens) if isinstance(prompt, str) else prompt
        ids = self.inputs.truncate(ids, truncate_prompt_tokens)
        self.inputs.check_ids(ids)
        self.inputs.complete_params(sampling_params)
        checked_salt(options.get("cache_salt"))
        self.submitted.append((ids, sampling_params, options))
        stream = FakeStream(self, ids, sampling_params, options.get("deadline"))
        self.open.add(stream)
        return stream


class FakeStream:
    def __init__(self, engine: FakeEngine, ids: list[int], params: SamplingParams, deadline: float | None):
        self.prompt_token_ids = ids
        self.sent = 0
        self._engine = engine
        self._params = params
        self._deadline = deadline
        self._error: PenstockError | None = None
        self._wake = asyncio.Event()
        self._sentence = engine.sentence
        self._text = engine.tokenizer.text_stream(
            skip_special_tokens=params.skip_special_tokens, kept_ids=params.kept_special_token_ids or ()
        )
        self._said = ""
        self._ahead: asyncio.Task[RequestOutput] | None = None
        self._told: Callable[[], None] | None = None

    def __aiter__(self) -> FakeStream:
        return self

    def listen(self, wake: Callable[[], None]) -> None:
        self._told = wake
        self._run_ahead()

    def take(self) -> RequestOutput | None:
        if self._ahead is None or not self._ahead.done():
            return None
        output = self._ahead.result()
        self._run_ahead()
        return output

    def _run_ahead(self) -> None:
        self._ahead = None
        if self in self._engine.open or self._error is not None:
            self._ahead = asyncio.ensure_future(anext(self))
            self._ahead.add_done_callback(lambda _: self._told() if self._told else None)

    def fail(self, error: PenstockError) -> None:
        self._error = error
        self._wake.set()

    def close(self) -> None:
        """From without; `_end` is from within."""
        self._end()
        if self._ahead is not None:
            self._ahead.cancel()
            self._told = None

    def _end(self) -> None:
        self._engine.open.discard(self)

    async def __anext__(self) -> RequestOutput:
        if self not in self._engine.open and self._error is None:
            raise StopAsyncIteration
        if self._params.output_kind is RequestOutputKind.FINAL_ONLY:
            output = await self._step()
            while not output.finished:
                output = await self._step()
            return self._output(0, self._said, output.outputs[0].finish_reason)
        return await self._step()

    async def _step(self) -> RequestOutput:
        wait_s = self._engine.delay_s
        late = self._deadline is not None and time.monotonic() + wait_s > self._deadline
        if late:
            wait_s = max(0.0, (self._deadline or 0.0) - time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), max(wait_s, 0.0001))
        if self._error is not None:
            raise self._error
        if late:
            self._end()
            raise DeadlineError("The request's deadline passed before it was answered.")
        if self._engine.fail_after is not None and self.sent >= self._engine.fail_after:
            self._end()
            raise self._engine.failure
        first, last = self.sent, min(self._params.max_tokens or 10**9, len(self._sentence))
        self.sent = min(first + self._engine.per_output, last)
        reason = None if self.sent < last else "stop" if last == len(self._sentence) else "length"
        text = self._text.feed(self._sentence[first : self.sent])
        if reason:
            self._end()
            text += self._text.finish()
        self._said += text
        return self._output(first, text, reason)

    def _output(self, first: int, text: str, reason: str | None) -> RequestOutput:
        ids = self._sentence[first : self.sent]
        p = self._params
        logprobs = None if p.logprobs is None else [self._position(i) for i in ids]
        prompt_logprobs = None
        if p.prompt_logprobs is not None and (first == 0):
            prompt_logprobs = [None, *(self._position(i) for i in self.prompt_token_ids[1:])]
        outputs = [CompletionOutput(i, text, ids, None, logprobs, reason) for i in range(p.n)]
        return RequestOutput("r", None, self.prompt_token_ids, outputs, bool(reason), prompt_logprobs, 0)

    def _position(self, token_id: int) -> PositionLogprobs:
        spell = self._engine.tokenizer.decode
        count = max(self._params.logprobs or 0, self._params.prompt_logprobs or 0)
        result = {token_id: Logprob(-0.1 - token_id / 1e5, 1, spell([token_id]))}
        for rank in range(2, count + 1):
            result[token_id + rank] = Logprob(-float(rank), rank, spell([token_id + rank]))
        return result
