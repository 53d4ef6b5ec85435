"""Front: what state the server is in, and how it gets from one to the next: loading, serving, draining, gone.

Owns the engine's life: starts it, says when it is ready, stops it. Knows nothing of routes; `gate.py` asks it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from penstock.config.sections import ServerArgs
from penstock.entrypoints.openai.service import Engine, Service
from penstock.errors import EngineDeadError, NotReadyError, StartError
from penstock.observability.logging import get_logger
from penstock.observability.periodic import PeriodicLine
from penstock.observability.stats import StatsRecorder

log = get_logger(__name__)

LOADING_RETRY_S = 2.0


class LivingEngine(Engine, Protocol):
    """An engine that the front starts and stops; `AsyncLLM` is one."""

    async def start(self) -> None: ...

    async def wait_ready(self) -> None: ...

    async def shutdown(self) -> None: ...

    @property
    def errored(self) -> bool: ...


class Front:
    """The life of one server.

    Args:
        engine: what serves.
        args: options of the server.
        stats: what the engine counts.
        log_every_s: seconds between two lines of statistics while there is work; None for no lines.
        engine_started: whoever made the engine has started it already.
    """

    def __init__(
        self,
        engine: LivingEngine,
        args: ServerArgs,
        stats: StatsRecorder,
        log_every_s: float | None = None,
        engine_started: bool = False,
    ) -> None:
        self.engine = engine
        self.service = Service(engine, args, stats)
        self.stats = stats
        self.draining = False
        self.in_flight = 0
        self.failure: Exception | None = None  # why the engine never got ready, or is gone for good
        self.on_failure: Callable[[], None] = lambda: None
        self._line = None if log_every_s is None else PeriodicLine(stats, log_every_s, lambda: self.in_flight > 0)
        self._watch_task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._engine_started = engine_started

    async def start(self) -> None:
        """Start the engine; returns while it loads. A second call does nothing."""
        if self._watch_task is not None:
            return
        began = time.monotonic()
        if not self._engine_started:
            await self.engine.start()
        self._watch_task = asyncio.create_task(self._wait_ready(began))

    async def stop(self) -> None:
        """Stop the engine; what is still open ends with an error. Safe to call twice."""
        self.draining = True
        if self._watch_task is not None:
            self._watch_task.cancel()
        if self._line is not None:
            self._line.stop()
        await self.service.template_process.close()
        await self.engine.shutdown()

    def check_admits(self) -> None:
        """Raise NotReadyError (or EngineDeadError) unless requests can be taken."""
        if self.draining:
            raise NotReadyError("The server is stopping.")
        if self.failed:
            raise EngineDeadError("the engine is gone")
        if not self.engine.is_ready:
            raise NotReadyError("The model is loading. Try again in a moment.", LOADING_RETRY_S)

    @property
    def failed(self) -> bool:
        """The engine is gone and does not come back."""
        return self.failure is not None or self.engine.errored

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing new and wait for what is in flight; False if it took longer than `timeout_s`."""
        self.draining = True
        if self._idle.is_set():
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def enter(self) -> None:
        """A request has been admitted."""
        self.in_flight += 1
        self._idle.clear()
        if self._line is not None:
            self._line.wake()

    def leave(self) -> None:
        """And has been answered."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def _wait_ready(self, began: float) -> None:
        try:
            await self.engine.wait_ready()
        except (StartError, EngineDeadError) as e:
            self.failure = e
            self.on_failure()
            return
        log.info("Ready after %.1f seconds.", time.monotonic() - began)
