"""What a step costs must not depend on how many requests wait: counted in lines of Python, and timed with a margin."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from penstock.kvcache.manager import KVCacheManager
from penstock.params import SamplingParams
from penstock.scheduler.plan import RowResult, StepResult
from penstock.scheduler.request import Request
from penstock.scheduler.scheduler import Scheduler

FEW, MANY = 20, 10_000
RUNNING = 8


def crowd(policy: str, num_waiting: int) -> Scheduler:
    """Some run and do not end soon, the others wait."""
    kv = KVCacheManager(257, 16, True, "blake2b", b"secret")
    scheduler = Scheduler(kv, max_num_seqs=RUNNING, max_num_batched_tokens=256, max_model_len=500, policy=policy)
    params = SamplingParams(max_tokens=None, ignore_eos=True)
    for i in range(RUNNING + num_waiting):
        prompt = [i % 97, *range(24)]
        priority, deadline = (i % 5 if i >= RUNNING else 0), (1e9 + i if i % 3 == 0 else None)
        scheduler.add(Request(f"r{i}", prompt, params, float(i), priority=priority, deadline=deadline))
    step(scheduler)
    assert (scheduler.stats().num_running, scheduler.stats().num_waiting) == (RUNNING, num_waiting)
    return scheduler


def step(scheduler: Scheduler) -> None:
    plan = scheduler.schedule()
    rows = [RowResult(row.request_id, [1] if row.samples else []) for row in plan.rows]
    scheduler.update(plan, StepResult(plan.step, rows))
    scheduler.stats()
    assert scheduler.has_work()


def lines(work: Callable[[], Any]) -> int:
    """How many lines of Python `work` executes."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def seconds(work: Callable[[], Any]) -> float:
    """The fastest of many times."""
    times = []
    for _ in range(40):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_a_step_costs_the_same_however_many_wait(policy: str) -> None:
    few, many = crowd(policy, FEW), crowd(policy, MANY)
    for _ in range(20):
        assert lines(lambda: step(many)) <= 1.05 * lines(lambda: step(few)) + 5
    assert seconds(lambda: step(many)) < 3 * seconds(lambda: step(few))


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_a_step_that_admits_costs_the_same_however_many_wait(policy: str) -> None:
    def turnover(scheduler: Scheduler) -> None:
        """One ends by an abort, and the next begins."""
        plan = scheduler.schedule()
        scheduler.abort([plan.rows[0].request_id])
        scheduler.update(plan, StepResult(plan.step, [RowResult(r.request_id, [1]) for r in plan.rows]))
        step(scheduler)
        assert scheduler.stats().num_running == RUNNING

    few, many = crowd(policy, FEW), crowd(policy, MANY)
    for _ in range(10):
        assert lines(lambda: turnover(many)) <= 1.5 * lines(lambda: turnover(few)) + 5  # a heap is a little deeper


@pytest.mark.parametrize("policy", ["fcfs", "priority"])
def test_aborts_cost_the_same_per_request_however_many_wait(policy: str) -> None:
    def per_request(num_waiting: int) -> float:
        scheduler = crowd(policy, num_waiting)
        waiting = [f"r{i}" for i in range(RUNNING, RUNNING + num_waiting)]

        def abort_all() -> None:
            for request_id in waiting[::2]:
                scheduler.abort([request_id])
            scheduler.abort(waiting[1::2])

        count = lines(abort_all)
        assert scheduler.stats().num_waiting == 0
        step(scheduler)
        return count / num_waiting

    assert per_request(2000) <= 1.5 * per_request(200)


def test_a_better_priority_gets_in_at_once_though_thousands_wait() -> None:
    scheduler = crowd("priority", MANY)
    urgent = Request("urgent", [5] * 20, SamplingParams(max_tokens=1), 0.0, priority=-1)
    scheduler.add(urgent)
    plan = scheduler.schedule()
    assert "urgent" in [row.request_id for row in plan.rows]
    assert len(plan.gone) == 1  # the worst of those that ran
