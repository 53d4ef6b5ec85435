"""Ctrl-C between two steps: a step that was cut in half would leave scheduler and worker with different ideas."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class InterruptBetweenSteps:
    """Context in which the first SIGINT is kept until `check`; a second one interrupts at once.

    Only for the main thread, and only where Python's own handler would raise KeyboardInterrupt: programs that handle
    the signal themselves keep their handler.
    """

    def __init__(self) -> None:
        self._seen = False
        self._installed = False

    def __enter__(self) -> InterruptBetweenSteps:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._installed = True
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: object, trace: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if kind is None:
                self.check()

    def check(self) -> None:
        """
        Raises:
            KeyboardInterrupt: there was a signal since the context was entered.
        """
        if self._seen:
            self._seen = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._seen:
            signal.default_int_handler(number, frame)
        self._seen = True
