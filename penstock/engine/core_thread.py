"""CoreThread: an engine core on a thread of its front's process, for --disable-frontend-multiprocessing.

It talks to its front as a core in a process does, and looks to `core_client.py` like one. It cannot be killed: what is
told to end ends after its step. Front and core share Python's lock, so streams are slower than with two processes.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time

from penstock.engine.core_process import serve
from penstock.engine.ipc import CoreChannel
from penstock.engine.messages import Shutdown, ToCore

LOOK_EVERY_MS = 500  # an idle core looks this often whether it is to end
FLUSH_S = 0.2  # its last words get so long to arrive before it counts as ended; a process's exit waits for them itself
STUCK_S = 30.0  # whoever waits for one that does not end waits no longer than this


class CoreThread:
    """Starts at once.

    Args:
        address: the front's.
    """

    stdin = None  # no pipe holds it to its parent

    def __init__(self, address: str):
        self.pid = os.getpid()
        self._ends = threading.Event()
        self._status = 1
        self._thread = threading.Thread(target=self._run, args=(address,), name="engine-core", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Let it end after its step."""
        self._ends.set()

    def wait(self, timeout: float | None = None) -> int:
        """The status it ended with.

        Raises:
            subprocess.TimeoutExpired: it has not ended in that time.
        """
        self._thread.join(STUCK_S if timeout is None else timeout)
        if timeout is not None and self._thread.is_alive():
            raise subprocess.TimeoutExpired("engine core", timeout)
        return self._status

    def _run(self, address: str) -> None:
        channel = _EndingChannel(address, self._ends)
        try:
            self._status = serve(channel, own_process=False)
        finally:
            channel.close()
            time.sleep(FLUSH_S)


class _EndingChannel(CoreChannel):
    """Hands out a Shutdown when the thread is to end, whatever the front says or does not say."""

    def __init__(self, address: str, ends: threading.Event):
        super().__init__(address)
        self._ends = ends

    def receive(self, timeout_ms: int | None) -> ToCore | None:
        while not self._ends.is_set():
            message = super().receive(LOOK_EVERY_MS if timeout_ms is None else timeout_ms)
            if message is not None or timeout_ms is not None:
                return message
        return Shutdown()
