"""Sleep: an engine that runs nothing and has let go of memory, until it is woken up.

Requests that come meanwhile wait. What the KV pool held is lost, so those that ran start again from their tokens.
"""

from __future__ import annotations

from penstock.engine.messages import SCHEDULING, SLEEP_MODES, SLEEP_PARTS
from penstock.errors import ClientError, StartError
from penstock.executor.base import Executor
from penstock.scheduler.plan import Pause
from penstock.scheduler.scheduler import Scheduler

PARTS = frozenset(SLEEP_PARTS)


class Sleep:
    """Tells scheduler and executor.

    Args:
        enabled: --enable-sleep-mode.

    Attributes:
        level: 0, 1 or 2 while the engine sleeps, else None.
    """

    def __init__(self, scheduler: Scheduler, executor: Executor, enabled: bool):
        self._scheduler = scheduler
        self._executor = executor
        self._enabled = enabled
        self._missing: frozenset[str] = frozenset()
        self.level: int | None = None

    def check(self, level: int, mode: str) -> None:
        """
        Raises:
            ClientError: this cannot be done.
        """
        self._check_enabled()
        if level not in (0, 1, 2):
            raise ClientError(f"level must be 0, 1 or 2, not {level!r}.", "level")
        if mode not in SLEEP_MODES:
            raise ClientError(f"mode must be one of {', '.join(SLEEP_MODES)}, not {mode!r}.", "mode")
        if self.level and level > self.level:
            raise ClientError(f"The engine is asleep at level {self.level}; wake it up before level {level}.", "level")

    def hold_new(self, level: int) -> bool:
        """Let no further request run, ahead of a sleep of this level; whether some still do.

        Raises:
            ClientError: it cannot sleep so.
        """
        self.check(level, "wait")
        if self.level is None:
            self._scheduler.pause = Pause.NEW
        return self.level is None and self._scheduler.num_running > 0

    def begin(self, level: int) -> None:
        """Run nothing any more, and let go of memory.

        Args:
            level: 0 keeps it all; 1 frees the KV pool and moves weights to host memory; 2 frees both. A level that is
                no deeper than the present one changes nothing.
        """
        self._scheduler.pause = Pause.ALL
        if level and not self.level:
            self._executor.sleep(level, self._scheduler.forget_worker())
            self._missing = PARTS
        self.level = max(level, self.level or 0)

    def end(self, tags: list[str] | None) -> bool:
        """Get memory back, and run again when there is all of it; whether that is so.

        Args:
            tags: of "weights" and "kv_cache" those that are wanted now; None for both. "scheduling" asks for neither.

        Raises:
            ClientError: a tag is unknown, or the memory is not to be had.
        """
        self._check_enabled()
        wanted = PARTS if tags is None else frozenset(tags) - {SCHEDULING}
        if unknown := wanted - PARTS:
            raise ClientError(
                f"tags must be among {', '.join(SLEEP_PARTS)}, {SCHEDULING}, not {min(unknown)!r}.", "tags"
            )
        if wanted & self._missing:
            try:
                self._executor.wake_up(wanted & self._missing)
            except StartError as e:
                raise ClientError(f"The engine cannot wake up: {e}") from e
            self._missing -= wanted
        if self._missing:
            return False
        self._scheduler.pause, self.level = Pause.NOTHING, None
        return True

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise ClientError("Sleep mode is not enabled; start with --enable-sleep-mode.")
