"""Executor: what the engine core asks of the devices, whether they are in this process, in others or elsewhere.

Every executor runs the same plan on all of its workers and answers with one result. Imports no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from penstock.params import SamplingParams
from penstock.plugins import Registry
from penstock.scheduler.plan import StepPlan, StepResult
from penstock.worker.capacity import KVCapacity

OnProgress = Callable[[str, float], None]

executors = Registry("distributed executor backend", {"uni": "penstock.executor.uniproc:UniprocExecutor"})


class Executor(ABC):
    """Runs step plans. Order of calls: initialize, kv_capacity, allocate_kv, then execute and call, last shutdown.

    A constructor takes the EngineConfig and touches no device.
    """

    @abstractmethod
    def initialize(self, on_progress: OnProgress) -> None:
        """Build the model on every worker and load its weights.

        Args:
            on_progress: called with a word for the log and the share done, 0..1.

        Raises:
            StartError: the files, options or machine do not allow it.
        """

    @abstractmethod
    def kv_capacity(self) -> KVCapacity:
        """The number of KV blocks that every worker can hold.

        Raises:
            StartError: less than one sequence of max_model_len tokens fits.
        """

    @abstractmethod
    def allocate_kv(self, num_blocks: int) -> None:
        """Make the KV pool; it reads as zeros."""

    @abstractmethod
    def sleep(self, level: int, gone: list[str]) -> None:
        """Let go of memory until `wake_up`; no step may come meanwhile. What the KV pool held is lost.

        Args:
            gone: all requests that workers know; they drop them.
            level: 1 frees the KV pool and moves weights to host memory; 2 frees both.
        """

    @abstractmethod
    def wake_up(self, parts: frozenset[str]) -> None:
        """Get memory back: "weights", "kv_cache" or both; what was not let go of is left alone.

        Raises:
            StartError: the memory or the files are not there any more; what is missing stays so.
        """

    @property
    def max_in_flight(self) -> int:
        """Plans that may be executed before the first one's result is asked for; known after allocate_kv."""
        return 1

    def prepare(self, params: SamplingParams) -> Future[object]:
        """Compile the constraint of a request that will come, without holding up steps. What it gives is to be kept
        until the request ends.

        The future raises what the compiler says. This one has nothing to compile.
        """
        future: Future[object] = Future()
        future.set_result(None)
        return future

    @abstractmethod
    def execute(self, plan: StepPlan) -> Future[StepResult]:
        """Run one step. Plans must come in order, and results be asked for in that order; whatever a worker raises
        comes out of the future."""

    def idle(self) -> bool:
        """Use some time, well below a second, while there is nothing to run; whether more would be of use.

        This one needs none.
        """
        return False

    @abstractmethod
    def call(self, method: str | Callable[..., Any], *args: Any, **keywords: Any) -> list[Any]:
        """Run a method of every worker, one of `Worker.CALLABLE`; the answers in rank order.

        Args:
            method: its name; where workers are in the calling process, it may be a function whose first argument is a
                worker. Functions never go to another process.

        Raises:
            ClientError: no such method, or a function that workers cannot get.
        """

    @abstractmethod
    def shutdown(self) -> None:
        """Release the devices. Safe to call twice, and after a failed initialize."""
