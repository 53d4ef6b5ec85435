"""CoreSupervisor: one engine core after another, so that there is one for as long as the budget of restarts lasts.

Starts the process, says what state it is in, takes a stuck one as dead, and starts the next. Knows no requests: whoever
has some is told when their core is gone. Everything runs on the event loop that `start` was called on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from penstock import envs
from penstock.config.engine_config import EngineConfig
from penstock.engine.core_client import CoreClient
from penstock.engine.messages import CoreOutputs, Ready, ToCore
from penstock.errors import EngineDeadError, NotReadyError, PenstockError, StartError
from penstock.observability.logging import get_logger

logger = get_logger(__name__)


class RestartBudget:
    """Allows so many restarts in so many seconds.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, restarts: int = 3, seconds: float = 600.0, clock: Callable[[], float] = time.monotonic):
        self._restarts = restarts
        self._seconds = seconds
        self._clock = clock
        self._times: deque[float] = deque()

    def take(self) -> bool:
        """Use one restart if there is one."""
        now = self._clock()
        while self._times and now - self._times[0] > self._seconds:
            self._times.popleft()
        if len(self._times) >= self._restarts:
            return False
        self._times.append(now)
        return True


class CoreSupervisor:
    """The core that runs now, and its successors.

    Args:
        config: for every core.
        on_outputs: called for every step's outputs.
        on_gone: called when a core is gone, before the next one starts: what it worked on is lost.
        working_since: monotonic time at which the core got work after it had none; None while it has none.
        on_thread: run it on a thread of this process.

    Attributes:
        watch_every_s: seconds between two looks at whether the core makes progress.
        fatal: why there will be no core any more, or None.
        last_death: how the last core that died did so, or None.
    """

    watch_every_s = 5.0

    def __init__(
        self,
        config: EngineConfig,
        on_outputs: Callable[[CoreOutputs], None],
        on_gone: Callable[[EngineDeadError], None],
        working_since: Callable[[], float | None],
        on_thread: bool = False,
    ):
        self._config = config
        self._on_thread = on_thread
        self._on_outputs = on_outputs
        self._on_gone = on_gone
        self._working_since = working_since
        self.fatal: PenstockError | None = None
        self.last_death: EngineDeadError | None = None
        self._client: CoreClient | None = None
        self._budget = RestartBudget()
        self._was_ready = False
        self._stopped = False
        self._ready_or_over = asyncio.Event()
        self._watchdog: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Spawn the first core; returns at once, while the model loads.

        Raises:
            StartError: the machine does not allow it.
        """
        assert self._client is None, "start is called once"
        self._spawn()
        self._watchdog = asyncio.create_task(self._watch_progress())

    async def wait_ready(self) -> None:
        """Wait until there is a core that takes requests.

        Raises:
            StartError: the core says that it cannot start; one sentence.
            EngineDeadError: it died while it started, or did not answer in time; or `stop` was called.
        """
        while not self.is_ready:
            if self.fatal is not None:
                raise self.fatal
            if self._stopped:
                raise EngineDeadError("The engine was shut down.")
            assert self._client is not None, "start comes first"
            await self._ready_or_over.wait()

    @property
    def is_ready(self) -> bool:
        """The model is loaded and the core is alive."""
        return self._client is not None and self._client.is_ready and not self._stopped

    @property
    def is_stopped(self) -> bool:
        """Not started yet, or stopped."""
        return self._client is None or self._stopped

    @property
    def loading(self) -> tuple[str, float]:
        """What the core does while it loads, and the share done."""
        return ("starting", 0.0) if self._client is None else self._client.loading

    @property
    def ready_info(self) -> Ready | None:
        """What the core reported when it was ready."""
        return None if self._client is None else self._client.ready_info

    @property
    def pid(self) -> int | None:
        """The process that runs the model."""
        return None if self._client is None else self._client.pid

    def check(self) -> None:
        """
        Raises:
            EngineDeadError: given up for good.
            NotReadyError: loading, restarting or stopped.
        """
        if self.fatal is not None:
            raise self.last_death or EngineDeadError("The engine is gone.")
        if not self.is_ready:
            raise NotReadyError("The engine is stopped." if self.is_stopped else "The model is loading.")

    def send(self, message: ToCore) -> None:
        """Pass a message on; dropped if there is no core."""
        if self._client is not None:
            self._client.send(message)

    async def call(self, method: str, args: tuple[Any, ...]) -> Any:
        """Run a method of the core.

        Raises:
            ClientError: it refused. EngineDeadError: it died first. NotReadyError: there is none.
        """
        self.check()
        assert self._client is not None
        return await self._client.call(method, args)

    async def stop(self) -> None:
        """Stop the core; no other follows. Safe to call twice."""
        if self._begin_stop() and self._client is not None:
            await self._client.stop()

    def kill(self) -> None:
        """As `stop`, at once and without an event loop's help: for exits."""
        if self._begin_stop() and self._client is not None:
            self._client.kill()

    def _begin_stop(self) -> bool:
        if self._stopped:
            return False
        self._stopped = True
        self._ready_or_over.set()
        if self._watchdog is not None:
            self._watchdog.cancel()
        return True

    def _spawn(self) -> None:
        level = logging.getLevelName(logger.getEffectiveLevel()).lower()
        self._ready_or_over.clear()
        self._client = CoreClient(
            self._config, self._on_outputs, self._on_dead, level, on_ready=self._on_ready, on_thread=self._on_thread
        )
        self._client.start()

    def _on_ready(self) -> None:
        self._was_ready = True
        self._ready_or_over.set()

    def _on_dead(self, error: PenstockError) -> None:
        """Another core is started if the budget allows."""
        dead = error if isinstance(error, EngineDeadError) else EngineDeadError("The engine could not start.")
        self.last_death = dead
        self._on_gone(dead)
        if self._was_ready and self._budget.take():
            logger.error("%s Starting it again.", error)
            try:
                self._spawn()
            except StartError as e:  # no more processes, open files or disk, perhaps: that is the end
                error = e
            else:
                return
        self.fatal = error
        logger.error("%s", error)
        self._ready_or_over.set()

    async def _watch_progress(self) -> None:
        """Take a core as dead that does not become ready, or has work and does not finish a step."""
        while self.fatal is None:
            await asyncio.sleep(self.watch_every_s)
            client, since, now = self._client, self._working_since(), time.monotonic()
            assert client is not None
            if not client.is_ready:
                if now - client.started > envs.ENGINE_READY_TIMEOUT_S:
                    client.give_up(f"The engine was not ready within {envs.ENGINE_READY_TIMEOUT_S:g} seconds.")
            elif since is not None:
                silent = now - max(client.last_message, since)
                if silent > envs.STEP_TIMEOUT_S:
                    client.give_up(f"The engine made no progress for {silent:.0f} seconds and was killed.")
