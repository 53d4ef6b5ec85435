"""ReplayEngine: the whole front with a core that says what it is told, one token per request and step."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.engine.async_engine import AsyncLLM
from penstock.engine.messages import AbortRequests, AddRequest, CoreOutputs
from penstock.observability.stats import StatsRecorder
from penstock.scheduler.plan import EngineOutput, FinishReason


class ReplayEngine(AsyncLLM):
    """Takes the place of AsyncLLM; tokenizes, detokenizes and streams as that does.

    Args:
        step_s: seconds of a step.

    Attributes:
        texts: what a prompt that contains the key is answered with.
    """

    def __init__(self, texts: dict[str, str], step_s: float, stats: StatsRecorder):
        super().__init__(resolve(EngineArgs(max_model_len=4096), usage="server"), stats)
        assert self.tokenizer is not None
        answers = {self.tokenizer.encode(k)[0]: self.tokenizer.encode(t) for k, t in texts.items()}
        self._core: Any = ReplayCore(self._on_outputs, answers, step_s)


class ReplayCore:
    """What AsyncLLM asks of a supervisor of a core."""

    is_ready = True
    is_stopped = False
    fatal = last_death = None

    def __init__(self, on_outputs: Any, answers: dict[int, list[int]], step_s: float):
        self._on_outputs = on_outputs
        self._answers = answers
        self._step_s = step_s
        self._open: dict[str, list[int]] = {}  # what is left to say, backwards
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def wait_ready(self) -> None: ...

    def check(self) -> None: ...

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def kill(self) -> None: ...

    def send(self, message: Any) -> None:
        if isinstance(message, AddRequest):
            key = next(i for i in message.prompt_token_ids if i in self._answers)
            self._open[message.request_id] = self._answers[key][::-1]
        elif isinstance(message, AbortRequests):
            for request_id in message.request_ids:
                self._open.pop(request_id, None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._step_s)
            outputs = []
            for request_id, left in list(self._open.items()):
                token_id = left.pop()
                outputs.append(EngineOutput(request_id, [token_id], None if left else FinishReason.LENGTH))
                if not left:
                    del self._open[request_id]
            if outputs:
                self._on_outputs(CoreOutputs(outputs))
