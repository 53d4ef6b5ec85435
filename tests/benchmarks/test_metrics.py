"""The numbers of a serving benchmark, checked against a run small enough to work out by hand."""

from __future__ import annotations

import pytest

from penstock.benchmarks.backends import Outcome
from penstock.benchmarks.metrics import latency_stats, parse_goodput, summarize
from penstock.benchmarks.tables import serving_table
from penstock.errors import StartError


def outcome(start: float, ttft: float, itl: list[float], tokens: int) -> Outcome:
    return Outcome(
        success=True, start=start, ttft=ttft, itl=itl, latency=ttft + sum(itl), prompt_tokens=11, output_tokens=tokens
    )


RUN = [
    outcome(10.0, 0.1, [0.1, 0.2], 3),  # tokens at 10.1, 10.2, 10.4
    outcome(10.5, 0.3, [0.5], 2),  # at 10.8, 11.3
    outcome(11.0, 0.5, [], 1),  # at 11.5
    Outcome(error="refused", start=10.0),
]


def test_counts_and_rates() -> None:
    numbers = summarize(RUN, [10, 20, 0, 40], duration=2.0, goodput={"ttft": 400, "e2el": 500})
    assert numbers["completed"] == 3
    assert numbers["failed"] == 1
    assert numbers["total_input_tokens"] == 10 + 20 + 11  # the server's count where there is no other
    assert numbers["total_output_tokens"] == 6
    assert numbers["request_throughput"] == 1.5
    assert numbers["output_throughput"] == 3.0
    assert numbers["total_token_throughput"] == 23.5
    assert numbers["request_goodput"] == 0.5  # only the first request met both bounds
    assert numbers["max_output_tokens_per_s"] == 4  # in the first second
    assert numbers["max_concurrent_requests"] == 2
    assert summarize(RUN, [1] * 4, 2.0)["request_goodput"] is None


def test_latencies() -> None:
    stats = latency_stats(RUN, ["ttft", "tpot", "itl", "e2el"], [50, 99.9])
    assert stats["mean_ttft_ms"] == pytest.approx(300)
    assert stats["p50_ttft_ms"] == stats["median_ttft_ms"] == pytest.approx(300)
    assert stats["mean_tpot_ms"] == pytest.approx((150 + 500) / 2)  # a single token has none
    assert stats["mean_itl_ms"] == pytest.approx(800 / 3)
    assert stats["mean_e2el_ms"] == pytest.approx((400 + 800 + 500) / 3)
    assert 499 < stats["p99.9_itl_ms"] < 500
    assert stats["std_ttft_ms"] == pytest.approx(163.299, abs=0.01)


def test_no_success_is_zero_not_an_error() -> None:
    numbers = summarize([Outcome(error="x")], [5], 1.0)
    assert (numbers["completed"], numbers["failed"], numbers["max_output_tokens_per_s"]) == (0, 1, 0)
    assert set(latency_stats([Outcome(error="x")], ["ttft", "itl"], [99]).values()) == {0.0}


def test_goodput_bounds() -> None:
    assert parse_goodput(["ttft:200", "e2el:1e3"]) == {"ttft": 200.0, "e2el": 1000.0}
    assert parse_goodput(None) == {}
    for bad in ("ttft", "itl:5", "ttft:-1", "ttft:nan", "ttft:x"):
        with pytest.raises(StartError, match="--goodput"):
            parse_goodput([bad])


def test_the_table_to_the_character() -> None:
    result = summarize(RUN, [10, 20, 0, 40], 2.0, {"ttft": 400})
    result |= latency_stats(RUN, ["ttft", "itl"], [99]) | {"max_concurrency": 8, "request_rate": 4.0}
    assert serving_table(result, ["ttft", "itl"], [99]).splitlines() == [
        "============ Serving Benchmark Result ============",
        "Successful requests:                     3         ",
        "Failed requests:                         1         ",
        "Maximum request concurrency:             8         ",
        "Request rate configured (RPS):           4.00      ",
        "Benchmark duration (s):                  2.00      ",
        "Total input tokens:                      41        ",
        "Total generated tokens:                  6         ",
        "Request throughput (req/s):              1.50      ",
        "Request goodput (req/s):                 1.00      ",
        "Output token throughput (tok/s):         3.00      ",
        "Peak output token throughput (tok/s):    4.00      ",
        "Peak concurrent requests:                2.00      ",
        "Total token throughput (tok/s):          23.50     ",
        "---------------Time to First Token----------------",
        "Mean TTFT (ms):                          300.00    ",
        "Median TTFT (ms):                        300.00    ",
        "P99 TTFT (ms):                           496.00    ",
        "---------------Inter-token Latency----------------",
        "Mean ITL (ms):                           266.67    ",
        "Median ITL (ms):                         200.00    ",
        "P99 ITL (ms):                            494.00    ",
        "==================================================",
    ]
    plain = result | {"max_concurrency": None, "request_rate": "inf", "request_goodput": None}
    table = serving_table(plain, [], [99])
    assert not any(word in table for word in ("Maximum request", "RPS", "goodput", "RTFx"))
