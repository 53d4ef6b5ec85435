"""The engine: requests in, steps planned and executed, outputs out.

Owns the scheduler and the executor: no threads, no sockets, no text. Where the executor takes more than one step, the
next one is planned and issued before the result of the first is read. `core_process.py` runs a core behind sockets,
`sync_engine.py` in the caller's process.
"""

from __future__ import annotations

import gc
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any

from penstock import platforms
from penstock.config.engine_config import EngineConfig
from penstock.config.memory import weight_bytes
from penstock.engine.messages import AddRequest
from penstock.engine.sleep import Sleep
from penstock.errors import ClientError, StartError
from penstock.executor.base import Executor, executors
from penstock.kvcache.manager import KVCacheManager
from penstock.observability.loading_bar import LoadingBar
from penstock.scheduler.plan import EngineOutput, FinishReason, SchedulerStats, StepPlan, StepResult
from penstock.scheduler.request import Request
from penstock.scheduler.scheduler import Scheduler
from penstock.structured.base import GrammarError

_SECRET_BYTES = 32
_HELD_WAIT_S = 0.005


class EngineCore:
    """Scheduler and executor, ready to run.

    Attributes:
        kv_explanation: how the size of the KV pool came about, one line for the log.
    """

    CALLABLE = frozenset(
        {"reset_prefix_cache", "check_integrity", "collective_rpc", "sleep", "hold_new", "wake_up", "is_sleeping"}
    )

    def __init__(self, scheduler: Scheduler, executor: Executor, kv_explanation: str = "", sleep_mode: bool = False):
        self.scheduler = scheduler
        self.executor = executor
        self.kv_explanation = kv_explanation
        self._open: deque[tuple[StepPlan, Future[StepResult]]] = deque()  # executed, without their result yet
        self._drained: list[EngineOutput] = []  # for the next step
        self._constraints: dict[str, Future[object]] = {}  # of open requests that have one
        self._sleep = Sleep(scheduler, executor, sleep_mode)
        self._held: dict[str, Request] = {}  # those whose constraint is being compiled, in order of arrival

    def step(self) -> list[EngineOutput]:
        """Run one step, or nothing if there is nothing to run. Where steps overlap, what comes out is that of the one
        before, or nothing yet.

        Raises:
            Exception: whatever the executor raises for the step as a whole; the core must not be used any more.
        """
        outputs, self._drained = self._drained, []
        if self._held:
            outputs += self._admit_held()
        plan = self.scheduler.schedule()
        if plan.rows:
            self._open.append((plan, self.executor.execute(plan)))
        elif self._held and not self._open:  # a loop around this would take the compiler's time
            wait([self._constraints[request_id] for request_id in self._held], _HELD_WAIT_S, FIRST_COMPLETED)
        if not self._open:
            outputs += self.scheduler.update(plan, StepResult(plan.step, []))
        elif len(self._open) >= self.scheduler.max_in_flight or not plan.rows:
            outputs += self._update()
        if self._constraints:
            for output in outputs:
                if output.finish_reason is not None:
                    self._constraints.pop(output.request_id, None)
        return outputs

    def _update(self) -> list[EngineOutput]:
        """Wait for the oldest open step and take its result in."""
        plan, result = self._open.popleft()
        return self.scheduler.update(plan, result.result())

    def drain(self) -> None:
        """Wait until no step is open. What they give comes out of the next step."""
        while self._open:
            self._drained += self._update()

    def add(self, message: AddRequest) -> None:
        """Admit a request; the outputs of later steps tell the rest."""
        request = Request(
            message.request_id,
            message.prompt_token_ids,
            message.params,
            message.arrival_time,
            priority=message.priority,
            cache_salt=message.cache_salt,
            deadline=message.deadline,
            pooling=message.pooling,
        )
        if message.params.structured_outputs is None:
            self.scheduler.add(request)
        else:
            self._constraints[message.request_id] = self.executor.prepare(message.params)
            self._held[message.request_id] = request

    def _admit_held(self) -> list[EngineOutput]:
        """Schedule the requests whose constraints are compiled; outputs of those whose are not to be had."""
        refused = []
        for request_id, request in list(self._held.items()):
            constraint = self._constraints[request_id]
            if not constraint.done():
                continue
            del self._held[request_id]
            error = constraint.exception()
            if error is None:
                self.scheduler.add(request)
            else:
                reason = FinishReason.REFUSED if isinstance(error, GrammarError) else FinishReason.ERROR
                text = f"structured_outputs cannot be used: {error}"
                refused.append(EngineOutput(request_id, [], reason, error=text))
        return refused

    def abort(self, request_ids: Iterable[str]) -> None:
        """End these; no output follows for them. Unknown ids are ignored."""
        request_ids = list(request_ids)
        for request_id in request_ids:
            self._held.pop(request_id, None)
            self._constraints.pop(request_id, None)
        if self._drained:
            self._drained = [output for output in self._drained if output.request_id not in request_ids]
        self.scheduler.abort(request_ids)

    def has_work(self) -> bool:
        return bool(self._held or self._drained) or self.scheduler.has_work()

    def idle(self) -> bool:
        """Use some time while there is no work; whether more would be of use."""
        return self.executor.idle()

    def stats(self) -> SchedulerStats:
        return self.scheduler.stats()

    def call(self, method: str, *args: Any) -> Any:
        """Run one of `CALLABLE` by name, while no step is open.

        Raises:
            ClientError: no such method.
        """
        if method not in self.CALLABLE:
            known = ", ".join(sorted(self.CALLABLE))
            raise ClientError(f"the engine has no method {method!r}; known: {known}", "method")
        self.drain()
        return getattr(self, method)(*args)

    def reset_prefix_cache(self, reset_running_requests: bool = False) -> bool:
        """Forget all cached prefixes; see `Scheduler.reset_prefix_cache`."""
        return self.scheduler.reset_prefix_cache(reset_running_requests)

    def collective_rpc(self, method: str, args: list[Any], keywords: dict[str, Any]) -> list[Any]:
        """Run a method of every worker by its name; see `Executor.call`."""
        if not isinstance(method, str):  # it may come from a program in this process
            raise ClientError("method must be a name.", "method")
        return self.executor.call(method, *args, **keywords)

    def hold_new(self, level: int = 1) -> bool:
        """Let no further request run; whether some still do. `sleep` follows when none does, or `wake_up`."""
        return self._sleep.hold_new(level)

    def sleep(self, level: int = 1, mode: str = "abort") -> None:
        """Run nothing, and let go of memory; see `Sleep.begin`. Requests that come wait until `wake_up`."""
        self._sleep.check(level, mode)
        if mode == "abort":
            for request in self._held.values():  # only the scheduler can end them
                self.scheduler.add(request)
            self._held.clear()
            self._constraints.clear()
            self.scheduler.abort_all()
        self._sleep.begin(level)

    def wake_up(self, tags: list[str] | None = None) -> bool:
        """See `Sleep.end`."""
        return self._sleep.end(tags)

    def is_sleeping(self) -> bool:
        return self._sleep.level is not None

    def check_integrity(self) -> None:
        """Assert that KV blocks and requests are all accounted for."""
        self.scheduler.check_integrity()

    def shutdown(self) -> None:
        """Release the devices. What is in flight is dropped."""
        self._open.clear()
        self.executor.shutdown()


@contextmanager
def loading(config: EngineConfig) -> Iterator[None]:
    """Around `build_core` and what goes with it, so that they take less time: memory for the weights is made ready
    meanwhile, and Python's collector does not look again and again through what imports make and keep (it took a tenth
    of the time of importing torch)."""
    matrices = weight_bytes(config.model.path, config.model.dtype, config.model.shape).products
    enabled = gc.isenabled()
    gc.disable()
    try:
        with platforms.current(config.device.platform).expect_weights(matrices):
            yield
    finally:
        if enabled:
            gc.enable()


def build_core(config: EngineConfig, on_progress: Callable[[str, float], None]) -> EngineCore:
    """Load the model, size and make the KV pool, and wire the core.

    Args:
        on_progress: called with a word for the log and the share of the loading that is done, 0..1.

    Raises:
        StartError: options, files or memory do not allow it.
    """
    limits = config.scheduler
    if limits.long_prefill_token_threshold and not limits.enable_chunked_prefill:
        raise StartError("--long-prefill-token-threshold cuts prompts, which --no-enable-chunked-prefill forbids.")
    executor: Executor = executors.get("uni")(config)  # imports torch
    with LoadingBar(config.model.show_progress, on_progress) as report:
        executor.initialize(report)
    capacity = executor.kv_capacity()
    executor.allocate_kv(capacity.num_blocks)
    kv = KVCacheManager(
        capacity.num_blocks,
        config.cache.block_size,
        config.cache.enable_prefix_caching,
        config.cache.prefix_hash,
        secrets.token_bytes(_SECRET_BYTES),
    )
    scheduler = Scheduler(
        kv,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        max_model_len=config.model.max_model_len,
        enable_chunked_prefill=limits.enable_chunked_prefill,
        long_prefill_token_threshold=limits.long_prefill_token_threshold,
        policy=limits.policy,
        step_seconds=limits.step_seconds,
        max_in_flight=executor.max_in_flight,
    )
    return EngineCore(scheduler, executor, capacity.explanation, config.device.sleep_mode)
