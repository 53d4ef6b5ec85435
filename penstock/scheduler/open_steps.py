"""OpenSteps: the steps that are planned and whose results are not in, and what must stay as it is until they are.

One where a plan waits for the result before it; two or more where the device is never to wait for the next plan. A
request that ends meanwhile keeps its blocks until the last step that writes to them is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from penstock.scheduler.plan import StepPlan
from penstock.scheduler.request import Request


@dataclass(slots=True)
class OpenStep:
    """One of them.

    Attributes:
        requests: of the plan's rows, in their order. Names will not do: one may be used again at once.
        began: when it was planned, or when the one before it was done if that is later.
    """

    plan: StepPlan
    requests: list[Request]
    num_tokens: int
    began: float


class OpenSteps:
    """In the order of their plans, in which they are also done.

    Args:
        free: gives up all blocks of a request.

    Attributes:
        leaving: requests that have ended, to whose blocks a step still writes.
    """

    def __init__(self, free: Callable[[Request], None]) -> None:
        self._free = free
        self._steps: deque[OpenStep] = deque()
        self._last_done = 0
        self.leaving: list[Request] = []

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, step: OpenStep) -> None:
        """A plan is about to be executed."""
        self._steps.append(step)

    def finish(self, plan: StepPlan, now: float) -> OpenStep:
        """Its result is in."""
        step = self._steps.popleft()
        assert step.plan is plan, "results come in the order of the plans"
        self._last_done = plan.step
        if self._steps:
            self._steps[0].began = now
        if self.leaving:
            leaving, self.leaving = self.leaving, []
            for request in leaving:
                self.free(request)
        return step

    def free(self, request: Request) -> None:
        """Give up the blocks of a request that has ended, as soon as no open step writes to them."""
        if request.last_step > self._last_done:
            self.leaving.append(request)
        else:
            self._free(request)
