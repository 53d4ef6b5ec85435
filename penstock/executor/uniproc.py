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
    """Calls its worker directly; futures come back completed."""

    def __init__(self, config: EngineConfig):
        self._worker: Worker | None = Worker(config)

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

    def prepare(self, params: SamplingParams) -> Future[object]:
        return self.worker.prepare(params)

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        future: Future[StepResult] = Future()
        try:
            future.set_result(self.worker.execute(plan))
        except Exception as e:  # boundary: a worker's failure belongs to the caller of result()
            future.set_exception(e)
        return future

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
