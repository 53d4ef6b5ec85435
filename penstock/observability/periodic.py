"""The line of statistics in the log, every few seconds while there is something to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.observability.logging import get_logger
from penstock.observability.stats import StatsRecorder

log = get_logger(__name__)


class PeriodicLine:
    """Logs throughput while requests run; sleeps, without a timer, while there are none.

    Args:
        interval_s: seconds between two lines.
        busy: whether requests are open.
    """

    def __init__(self, stats: StatsRecorder, interval_s: float, busy: Callable[[], bool]):
        self._stats = stats
        self._interval_s = interval_s
        self._busy = busy
        self._timer: asyncio.TimerHandle | None = None
        self._last = self._counts()

    def wake(self) -> None:
        """A request came in; lines follow until the server is idle again. Call on the event loop."""
        if self._timer is None:
            self._last = self._counts()
            self._arm()

    def stop(self) -> None:
        """No more lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._counts()
        if now != self._last or self._busy():
            log.info("%s", self.text(now))
            self._last = now
            self._arm()

    def text(self, now: tuple[int, int, int, int, int]) -> str:
        """The line for the counts since the last one."""
        new = [max(0, a - b) for a, b in zip(now, self._last, strict=True)]  # an engine started again counts from 0
        prompt, generated, queries, hits, preemptions = new
        stats = self._stats
        line = (
            f"Engine 000: Avg prompt throughput: {prompt / self._interval_s:.1f} tokens/s, "
            f"Avg generation throughput: {generated / self._interval_s:.1f} tokens/s, "
            f"Running: {stats.running} reqs, Waiting: {stats.waiting} reqs, "
            f"KV cache usage: {100 * stats.kv_usage:.1f}%, "
            f"Prefix cache hit rate: {100 * hits / queries if queries else 0.0:.1f}%"
        )
        return f"{line}, Preemptions: {preemptions}" if preemptions else line

    def _counts(self) -> tuple[int, int, int, int, int]:
        s = self._stats
        return s.prompt_tokens, s.generation_tokens, s.prefix_queries, s.prefix_hits, s.preemptions
