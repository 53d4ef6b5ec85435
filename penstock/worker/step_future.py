"""StepFuture: the result of a step that has been issued. Whoever asks for it first reads it from the device."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from penstock.scheduler.plan import StepResult


class StepFuture(Future[StepResult]):
    """
    Args:
        read: waits for the device; called once, by the thread that asks.
    """

    def __init__(self, read: Callable[[], StepResult]):
        super().__init__()
        self._read = read

    def result(self, timeout: float | None = None) -> StepResult:
        if not self.done():
            try:
                self.set_result(self._read())
            except Exception as e:  # boundary: as of any future
                self.set_exception(e)
        return super().result(timeout)
