"""Queues with lazy deletion: the order is right, and the dead do not pile up."""

from __future__ import annotations

import random

from penstock.params import SamplingParams
from penstock.scheduler.queue import Deadlines, WaitingQueue, ranking
from penstock.scheduler.request import Request, State


def make(i: int, priority: int = 0, arrival: float = 0.0, deadline: float | None = None) -> Request:
    request = Request(f"r{i}", [1], SamplingParams(), arrival, priority=priority, deadline=deadline)
    request.rank = ranking("priority")(request, i)
    return request


def test_the_queue_is_ordered_by_rank_whatever_leaves_from_the_middle() -> None:
    rng = random.Random(0)
    queue = WaitingQueue()
    living = [make(i, rng.randint(0, 3), rng.random()) for i in range(500)]
    for request in living:
        queue.push(request)
    for request in rng.sample(living, 200):
        request.state = State.ENDED
        queue.discard(request)
        living.remove(request)
    assert len(queue) == 300
    popped = [queue.pop() for _ in range(300)]
    assert popped == sorted(living, key=lambda r: (r.priority, r.arrival_time))
    assert queue.head() is None
    assert len(queue) == 0


def test_a_preempted_request_returns_to_its_place() -> None:
    queue = WaitingQueue()
    first, second, third = (make(i) for i in range(3))
    for request in (first, second, third):
        queue.push(request)
    assert queue.pop() is first
    assert queue.pop() is second
    queue.push(second)
    assert queue.head() is second
    queue.push(first)
    assert [queue.pop() for _ in range(3)] == [first, second, third]


def test_aborted_requests_do_not_pile_up() -> None:
    queue, deadlines = WaitingQueue(), Deadlines()
    stays = make(0)
    queue.push(stays)
    for i in range(1, 5000):
        request = make(i, deadline=1e9)
        queue.push(request)
        deadlines.watch(request)
        request.state = State.ENDED
        queue.discard(request)
        deadlines.discard(request)
    assert len(queue) == 1
    assert queue.head() is stays
    assert len(queue._heap) < 200
    assert len(deadlines._heap) < 200


def test_deadlines_report_only_who_was_never_started() -> None:
    deadlines = Deadlines()
    waits, runs, ended, started_before, later = (make(i, deadline=float(i // 4 + 1)) for i in range(5))
    for request in (waits, runs, ended, started_before, later, make(9)):
        deadlines.watch(request)
    runs.state, runs.scheduled_time = State.RUNNING, 0.5
    ended.state = State.ENDED
    started_before.scheduled_time = 0.5
    assert deadlines.expired(1.0) == []
    assert deadlines.expired(1.5) == [waits]
    assert deadlines.expired(1.5) == []
    assert deadlines.expired(9.0) == [later]
    assert not deadlines
