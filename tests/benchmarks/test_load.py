"""Arrivals and the limit of concurrency."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from penstock.benchmarks.load import LoadOptions, arrival_times, run_load
from penstock.errors import StartError


def test_an_infinite_rate_sends_all_at_once() -> None:
    assert arrival_times(5, LoadOptions(), seed=0) == [0.0] * 5
    assert arrival_times(0, LoadOptions(), seed=0) == []


@pytest.mark.parametrize("burstiness", [0.5, 1.0, 4.0])
def test_the_rate_is_offered_and_the_gaps_are_as_bursty_as_asked(burstiness: float) -> None:
    times = arrival_times(20_000, LoadOptions(request_rate=50.0, burstiness=burstiness), seed=1)
    gaps = np.diff(times)
    assert times[-1] == pytest.approx(19_999 / 50)
    assert (gaps >= 0).all()
    assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(burstiness), rel=0.05)


def test_arrivals_depend_on_the_seed_alone() -> None:
    options = LoadOptions(request_rate=3.0)
    assert arrival_times(9, options, 1) == arrival_times(9, options, 1)
    assert arrival_times(9, options, 1) != arrival_times(9, options, 2)


@pytest.mark.parametrize("strategy", ["linear", "exponential"])
def test_a_ramp_gets_faster(strategy: str) -> None:
    options = LoadOptions(ramp_up_strategy=strategy, ramp_up_start_rps=1.0, ramp_up_end_rps=100.0)
    gaps = np.diff(arrival_times(3000, options, seed=0))
    first, last = gaps[:300].mean(), gaps[-300:].mean()
    assert last == pytest.approx(1 / 95, rel=0.25)
    assert first > 5 * last


@pytest.mark.parametrize(
    "bad",
    [
        {"request_rate": 0.0},
        {"request_rate": math.nan},
        {"burstiness": 0.0},
        {"max_concurrency": 0},
        {"ramp_up_strategy": "linear"},
        {"ramp_up_strategy": "linear", "ramp_up_start_rps": 5.0, "ramp_up_end_rps": 5.0},
        {"ramp_up_strategy": "exponential", "ramp_up_start_rps": 0.0, "ramp_up_end_rps": 5.0},
        {"ramp_up_strategy": "linear", "ramp_up_start_rps": 1.0, "ramp_up_end_rps": 5.0, "request_rate": 2.0},
    ],
)
def test_impossible_options_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(StartError):
        LoadOptions(**bad)  # type: ignore[arg-type]


def test_results_keep_the_order_and_the_limit_holds() -> None:
    running, most, done = 0, 0, 0

    async def send(index: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001 * (7 - index % 7))
        running -= 1
        return index

    def count() -> None:
        nonlocal done
        done += 1

    results = asyncio.run(run_load(40, send, LoadOptions(max_concurrency=3), on_done=count))
    assert results == list(range(40))
    assert most == 3
    assert done == 40
