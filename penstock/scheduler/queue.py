"""The waiting requests in the order of a policy, and the requests whose deadline may pass while they wait.

Both are heaps with lazy deletion: who leaves the queue by another way than its front stays in the heap until it
surfaces or the dead outnumber the living.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from penstock.errors import StartError
from penstock.scheduler.request import Request, State

Rank = tuple[float, ...]

# What comes first. The sequence number of admission makes ranks unique, and a preempted request, which keeps its rank,
# goes back to its old place: under fcfs, that is the head of the queue.
POLICIES: dict[str, Callable[[Request, int], Rank]] = {
    "fcfs": lambda request, sequence: (sequence,),
    "priority": lambda request, sequence: (request.priority, request.arrival_time, sequence),
}

_DEAD_ALLOWED = 64


def ranking(policy: str) -> Callable[[Request, int], Rank]:
    """The function (request, sequence number of its admission) -> rank.

    Raises:
        StartError: there is no such policy.
    """
    if policy not in POLICIES:
        raise StartError(f"unknown scheduling policy {policy!r}; known: {', '.join(sorted(POLICIES))}")
    return POLICIES[policy]


class WaitingQueue:
    """Requests in state WAITING by rank. A request in it leaves by `pop` or by `discard`."""

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, Request]] = []
        self._num_waiting = 0

    def __len__(self) -> int:
        return self._num_waiting

    def push(self, request: Request) -> None:
        assert request.state is State.WAITING
        heapq.heappush(self._heap, (request.rank, request))
        self._num_waiting += 1

    def head(self) -> Request | None:
        """The first request, left where it is."""
        heap = self._heap
        while heap:
            request = heap[0][1]
            if request.state is State.WAITING:
                return request
            heapq.heappop(heap)
        return None

    def pop(self) -> Request:
        """Take out the first request."""
        request = self.head()
        assert request is not None
        heapq.heappop(self._heap)
        self._num_waiting -= 1
        return request

    def discard(self, request: Request) -> None:
        """`request` was in the queue, and its state is no longer WAITING."""
        assert request.state is State.ENDED
        self._num_waiting -= 1
        if len(self._heap) > 2 * self._num_waiting + _DEAD_ALLOWED:
            self._heap = [entry for entry in self._heap if entry[1].state is State.WAITING]
            heapq.heapify(self._heap)


class Deadlines:
    """Requests that must be started before some time, or not at all."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, Rank, Request]] = []
        self._num_ended = 0

    def watch(self, request: Request) -> None:
        """Once per request."""
        if request.deadline is not None:
            heapq.heappush(self._heap, (request.deadline, request.rank, request))

    def __bool__(self) -> bool:
        return bool(self._heap)

    def expired(self, now: float) -> list[Request]:
        """Take out those whose time is over; return the ones that were never started."""
        found = []
        heap = self._heap
        while heap and heap[0][0] < now:
            request = heapq.heappop(heap)[2]
            if request.state is State.WAITING and request.scheduled_time is None:
                found.append(request)
        return found

    def discard(self, request: Request) -> None:
        """`request` has ended; do not keep it alive much longer."""
        if request.deadline is None:
            return
        self._num_ended += 1
        if 2 * self._num_ended > len(self._heap) + _DEAD_ALLOWED:
            self._heap = [entry for entry in self._heap if entry[2].state is not State.ENDED]
            heapq.heapify(self._heap)
            self._num_ended = 0
