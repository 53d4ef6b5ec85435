"""When requests are sent, and how many at a time: arrivals of a rate and burstiness, a limit of concurrency.

Knows neither what a request is nor how it is sent: it calls `send(index)` for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from penstock.errors import StartError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How requests arrive.

    Attributes:
        request_rate: mean requests per second; infinity sends all at once.
        burstiness: shape of the gamma distribution of the gaps; 1 is a Poisson process, less is burstier.
        max_concurrency: requests in flight at once; None for no limit.
        ramp_up_strategy: "linear" or "exponential" from ramp_up_start_rps to ramp_up_end_rps over all requests,
            instead of one rate.
    """

    request_rate: float = math.inf
    burstiness: float = 1.0
    max_concurrency: int | None = None
    ramp_up_strategy: str | None = None
    ramp_up_start_rps: float | None = None
    ramp_up_end_rps: float | None = None

    def __post_init__(self) -> None:
        if not self.request_rate > 0:
            raise StartError(f"--request-rate must be positive or inf, got {self.request_rate}")
        if not (self.burstiness > 0 and math.isfinite(self.burstiness)):
            raise StartError(f"--burstiness must be a positive number, got {self.burstiness}")
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise StartError(f"--max-concurrency must be at least 1, got {self.max_concurrency}")
        if self.ramp_up_strategy is None:
            return
        start, end = self.ramp_up_start_rps, self.ramp_up_end_rps
        if start is None or end is None:
            raise StartError("--ramp-up-strategy needs --ramp-up-start-rps and --ramp-up-end-rps")
        if not 0 <= start < end or (start == 0 and self.ramp_up_strategy == "exponential"):
            raise StartError("--ramp-up-start-rps must be less than --ramp-up-end-rps, and positive if exponential")
        if math.isfinite(self.request_rate):
            raise StartError("--ramp-up-strategy replaces --request-rate: give one of them")


def arrival_times(n: int, options: LoadOptions, seed: int) -> list[float]:
    """Seconds after the start at which each of n requests is sent; ascending, the first at 0."""
    if n == 0:
        return []
    rates = np.array([_rate(i / max(1, n - 1), options) for i in range(n)])
    if not np.isfinite(rates).all():
        return [0.0] * n
    rates = np.maximum(rates, 1e-9 + rates.max() * 1e-3)  # a ramp from zero starts slowly, not never
    gaps = np.random.default_rng(seed).gamma(options.burstiness, 1.0 / (options.burstiness * rates))
    gaps[0] = 0.0
    times = np.cumsum(gaps)
    if options.ramp_up_strategy is None and times[-1] > 0:
        # A sample of gaps has a mean of its own: stretch it, so that the configured rate is what is offered.
        times *= (n - 1) / options.request_rate / times[-1]
    return times.tolist()


def _rate(progress: float, options: LoadOptions) -> float:
    """Requests per second at a point of the run, 0..1."""
    if options.ramp_up_strategy is None:
        return options.request_rate
    assert options.ramp_up_start_rps is not None
    assert options.ramp_up_end_rps is not None
    start, end = options.ramp_up_start_rps, options.ramp_up_end_rps
    if options.ramp_up_strategy == "linear":
        return start + (end - start) * progress
    return start * (end / start) ** progress


async def run_load(
    n: int,
    send: Callable[[int], Awaitable[T]],
    options: LoadOptions,
    seed: int = 0,
    on_done: Callable[[], None] = lambda: None,
) -> list[T]:
    """Send requests 0..n-1 as `options` say; their results in that order."""
    limit = asyncio.Semaphore(options.max_concurrency) if options.max_concurrency else contextlib.nullcontext()

    async def one(index: int) -> T:
        async with limit:
            result = await send(index)
        on_done()
        return result

    start = time.perf_counter()
    tasks = []
    for index, at in enumerate(arrival_times(n, options, seed)):
        delay = start + at - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.append(asyncio.create_task(one(index)))
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
