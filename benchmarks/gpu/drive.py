"""Steps without a scheduler: plans made by hand for an executor, as many open at a time as the device takes."""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from penstock.config.compat import engine_args
from penstock.config.resolve import resolve
from penstock.executor.base import Executor, executors
from penstock.params import SamplingParams
from penstock.scheduler.plan import NewRow, Row, StepPlan, StepResult

STEADY = 0.02  # rounds that differ by less are steady
ROUND = 16  # steps
WARM_ROUNDS = 16
KEPT = 5  # rounds


class Driver:
    """A model with made-up weights, and requests of one length that all run in every step.

    Args:
        folder: has config.json.
        room: tokens that all requests together will come to.
        options: of the engine.
    """

    def __init__(self, folder: Path, room: int, **options: Any):
        args = engine_args(
            model=str(folder),
            load_format="dummy",
            skip_tokenizer_init=True,
            use_tqdm_on_load=False,
            generation_config="vllm",
            enable_prefix_caching=False,
            **options,
        )
        config = resolve(args, usage="offline")
        self._block_size = config.cache.block_size
        self._vocab = config.model.shape.vocab_size
        self._most_tokens = config.scheduler.max_num_batched_tokens
        self.executor: Executor = executors.get("uni")(config)
        self.executor.initialize(lambda what, done: None)
        self.executor.allocate_kv(room // self._block_size + config.scheduler.max_num_seqs + 2)
        self.max_in_flight: int = self.executor.call(lambda worker: worker.device.max_in_flight)[0]
        self._ids = itertools.count()
        self._steps = itertools.count(1)
        self._free = itertools.count(1)
        self._requests: dict[str, int] = {}  # computed tokens
        self._blocks: dict[str, int] = {}
        self._gone: list[str] = []
        self._open: deque[Future[StepResult]] = deque()
        self._random = random.Random(1)

    def prefill(self, count: int, length: int) -> float:
        """Compute so many new prompts of so many tokens; seconds."""
        names = [f"r{next(self._ids)}" for _ in range(count)]
        left = deque((name, 0) for name in names)
        prompts = {name: [self._random.randrange(10, self._vocab) for _ in range(length)] for name in names}
        start = time.perf_counter()
        while left:
            plan, budget = self._plan(), self._most_tokens
            while left and budget:
                name, done = left.popleft()
                run = min(budget, length - done)
                if not done:
                    params = SamplingParams(temperature=0, max_tokens=None, ignore_eos=True, seed=1)
                    plan.new.append(NewRow(name, prompts[name], length, params))
                plan.rows.append(self._row(name, done, run, samples=done + run == length))
                budget -= run
                if done + run < length:
                    left.appendleft((name, done + run))
            self._issue(plan)
        self._settle()
        return time.perf_counter() - start

    def decode(self, steps: int, settle: bool = True) -> float:
        """One more token for every request, so many times; seconds for a step.

        Args:
            settle: wait for all results, and not only for as many as it takes to issue the steps.
        """
        start = time.perf_counter()
        for _ in range(steps):
            plan = self._plan()
            plan.rows.extend(self._row(name, done, 1, samples=True) for name, done in self._requests.items())
            self._issue(plan)
        if settle:
            self._settle()
        return (time.perf_counter() - start) / steps

    def warm_up(self, count: int, seconds: float) -> None:
        """Record graphs, which would take some of the time of steps that are measured; then decode short requests for a
        while, so that all kernels are compiled."""
        until = time.perf_counter() + seconds
        while self.executor.idle() and time.perf_counter() < until:
            pass
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.prefill(count, ROUND)
            for _ in range(WARM_ROUNDS):
                self.decode(ROUND)
            self.drop()

    def steady_decode(self, rounds: int) -> tuple[list[float], float]:
        """Seconds per step in the last rounds, which come when they are alike or `rounds` are over, and the context of
        a request in the middle of them."""
        spent: list[float] = []
        self.decode(1, settle=False)  # now a result comes for each step that is issued
        while len(spent) < rounds:
            spent.append(self.decode(ROUND, settle=False))
            last = spent[-KEPT:]
            if len(spent) > 2 * KEPT and max(last) - min(last) < STEADY * statistics.median(last):
                break
        self._settle()
        return spent[-KEPT:], statistics.mean(self._requests.values()) - KEPT * ROUND / 2

    def drop(self) -> None:
        """End all requests; their blocks are used again."""
        self._gone += self._requests
        self._requests.clear()
        self._blocks.clear()
        self._free = itertools.count(1)

    def close(self) -> None:
        self.executor.shutdown()

    def _plan(self) -> StepPlan:
        gone, self._gone = self._gone, []
        return StepPlan(next(self._steps), gone, [], [])

    def _row(self, name: str, computed: int, run: int, samples: bool) -> Row:
        have, needed = self._blocks.get(name, 0), -(-(computed + run) // self._block_size)
        self._blocks[name], self._requests[name] = max(have, needed), computed + run
        return Row(name, computed, run, [next(self._free) for _ in range(needed - have)], samples)

    def _issue(self, plan: StepPlan) -> None:
        self._open.append(self.executor.execute(plan))
        while len(self._open) >= self.max_in_flight:
            self._open.popleft().result()

    def _settle(self) -> None:
        while self._open:
            self._open.popleft().result()
