"""UniprocExecutor: one worker on one device, in the calling process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from penstock.config.engine_config import EngineConfig
from penstock.errors import ClientError
from penstock.executor.base import Executor, OnProgress
from penstock.params import SamplingParams
from penstock.scheduler.plan import StepPlan, StepResult
from penstock.worker.capacity import KVCapacity
from penstock.worker.worker import Worker


class UniprocExecutor(Executor):
    """Calls its worker directly; a future is complete, or completed by asking for its result.

    Args:
        max_in_flight: plans that may be open, on any device; None to go by it.
    """

    def __init__(self, config: EngineConfig, max_in_flight: int | None = None):
        self._worker: Worker | None = Worker(config, max_in_flight)

    @property
    def worker(self) -> Worker:
        assert self._worker is not None, "the executor has been shut down"
        return self._worker

    def initialize(self, on_progress: OnProgress) -> None:
        self.worker.initialize(on_progress)

    def kv_capacity(self) -> KVCapacity:
        return self.worker.kv_capacity()

    def allocate_kv(self, num_blocks: int) -> None:
        self.worker.allocate_kv(num_blocks)

    def sleep(self, level: int, gone: list[str]) -> None:
        self.worker.sleep(level, gone)

    def wake_up(self, parts: frozenset[str]) -> None:
        self.worker.wake_up(parts)

    @property
    def max_in_flight(self) -> int:
        return self.worker.max_in_flight

    def prepare(self, params: SamplingParams) -> Future[object]:
        return self.worker.prepare(params)

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        return self.worker.execute(plan)

    def idle(self) -> bool:
        return self.worker.idle()

    def call(self, method: str | Callable[..., Any], *args: Any, **keywords: Any) -> list[Any]:
        if not isinstance(method, str):
            return [method(self.worker, *args, **keywords)]
        if method not in Worker.CALLABLE:
            known = ", ".join(sorted(Worker.CALLABLE))
            raise ClientError(f"workers have no method {method!r}; known: {known}", "method")
        return [getattr(self.worker, method)(*args, **keywords)]

    def shutdown(self) -> None:
        if self._worker is not None:
            self._worker.shutdown()
            self._worker = None
