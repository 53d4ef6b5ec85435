"""Counters and histograms, and the lines and pages made of them."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator

import pytest

from penstock.observability import logging as our_logging
from penstock.observability.http_stats import HttpStats
from penstock.observability.periodic import PeriodicLine
from penstock.observability.prometheus import MetricsPage
from penstock.observability.stats import Histogram, RequestStats, StatsRecorder, one_two_five


def test_histogram_buckets_hold_their_upper_bound() -> None:
    h = Histogram((1, 2, 5))
    for value in (0.5, 1, 1.5, 5, 6):
        h.observe(value)
    h.observe(3, n=4)
    assert h.counts == [2, 1, 5, 1]
    assert (h.count, h.total) == (9, 26)


def test_buckets_of_token_counts() -> None:
    assert one_two_five(100) == (1, 2, 5, 10, 20, 50, 100)
    assert one_two_five(4096)[-1] == 2000
    assert one_two_five(1) == (1,)


def test_a_finished_request_is_counted_once_everywhere() -> None:
    stats = StatsRecorder(1000)
    stats.finished(RequestStats(10, 5, "stop", 4, 16, 1, 0, 2.0, 0.5, 0.5, 1.0))
    stats.finished(RequestStats(10, 0, "timeout", queue_s=None))
    assert stats.requests_finished["stop"] == 1
    assert stats.requests_finished["error"] == 1
    assert stats.request_computed_tokens.total == 16
    assert stats.time_per_output_token.total == pytest.approx(0.25)
    assert (stats.e2e.count, stats.inference_time.total, stats.request_max_tokens.total) == (1, 1.5, 16)


def test_the_answers_of_one_request_count_apart_where_that_matters() -> None:
    stats = StatsRecorder(1000)
    stats.finished(RequestStats(10, 12, "stop", n=3, decode_s=1.0, longest_answer=6, num_preemptions=2))
    assert (stats.request_generation_tokens.total, stats.request_longest_answer.total) == (12, 6)
    assert (stats.time_per_output_token.total, stats.request_preemptions.total) == (pytest.approx(0.2), 2)


def test_a_step_is_counted_once_however_often_it_is_reported() -> None:
    stats = StatsRecorder(1000)
    for number in (1, 1, 2, 2):
        stats.step(1, 0, 0.0, 10, 0, 0, 0, number)
    assert (stats.step_tokens.count, stats.step_tokens.total) == (2, 20)
    stats.queued(3)
    assert stats.waiting == 3
    stats.step(3, 0, 0.0, 10, 0, 0, 0, 3)
    assert stats.waiting == 0


def test_without_histograms_counters_still_count() -> None:
    stats = StatsRecorder(1000, histograms=False)
    stats.finished(RequestStats(10, 5, "stop", e2e_s=1.0))
    stats.step(1, 0, 0.0, 10, 0, 0, 0, 1)
    stats.generated(5)
    assert (stats.e2e.count, stats.step_tokens.count, stats.request_prompt_tokens.count) == (0, 0, 0)
    assert (stats.requests_finished["stop"], stats.generation_tokens, stats.num_steps) == (1, 5, 1)


def test_the_page_has_the_names_and_buckets_that_dashboards_read() -> None:
    stats, http = StatsRecorder(100), HttpStats()
    stats.step(3, 2, 0.25, 40, 100, 60, 1, 9)
    stats.prompt(50, 20)
    stats.generated(7)
    stats.first_token(0.03)
    stats.inter_token(0.02, n=6)
    http.record("/v1/models", "GET", 204, 0.2, 0, 10)
    http.record("none", "HACK", 404, 0.2, 0, 10)
    text = MetricsPage(stats, http, "vllm", 'a "model"', {"block_size": 16}).render().decode()
    label = '{engine="0",model_name="a \\"model\\""}'
    for line in (
        f"vllm:num_requests_running{label} 3.0",
        f"vllm:num_requests_waiting{label} 2.0",
        f"vllm:kv_cache_usage_perc{label} 0.25",
        f"vllm:prefix_cache_queries_total{label} 100.0",
        f"vllm:prefix_cache_hits_total{label} 60.0",
        f"vllm:num_preemptions_total{label} 1.0",
        f"vllm:prompt_tokens_total{label} 50.0",
        f"vllm:generation_tokens_total{label} 7.0",
        f"vllm:inter_token_latency_seconds_count{label} 6.0",
        f"vllm:time_to_first_token_seconds_sum{label} 0.03",
        'vllm:cache_config_info{block_size="16",engine="0"} 1.0',
        'http_requests_total{handler="/v1/models",method="GET",status="2xx"} 1.0',
        'http_requests_total{handler="none",method="OTHER",status="4xx"} 1.0',
        'http_response_size_bytes_count{handler="/v1/models"} 1.0',
    ):
        assert _has(text, line), line
    bounds = re.findall(r'vllm:time_to_first_token_seconds_bucket\{[^}]*le="([^"]+)"', text)
    assert bounds[:3] == ["0.001", "0.005", "0.01"]
    assert bounds[-2:] == ["2560.0", "+Inf"]
    assert "vllm:iteration_tokens_total_bucket" in text
    assert 'finished_reason="repetition"' in text
    assert "_created" not in text
    assert "process_resident_memory_bytes" in text


def _has(text: str, line: str) -> bool:
    """Whether the page has the line, whatever the order of its labels."""

    def parts(x: str) -> tuple[str, frozenset[str], str]:
        found = re.fullmatch(r"([^{]+)\{(.*)\} (\S+)", x)
        assert found
        return found[1], frozenset(re.findall(r'\w+="(?:[^"\\]|\\.)*"', found[2])), found[3]

    return parts(line) in {parts(x) for x in text.splitlines() if re.fullmatch(r"([^{#]+)\{(.*)\} (\S+)", x)}


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the periodic line logs."""
    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())

    log, handler = our_logging.get_logger("penstock.observability.periodic"), Keep()
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    yield seen
    log.removeHandler(handler)
    log.setLevel(level)


def test_the_periodic_line_comes_only_while_there_is_work(lines: list[str]) -> None:
    stats = StatsRecorder()

    async def main() -> None:
        line = PeriodicLine(stats, 0.05, lambda: stats.running > 0)
        await asyncio.sleep(0.12)
        assert lines == []
        line.wake()
        stats.step(1, 2, 0.5, 10, 8, 4, 0, 1)
        stats.prompt(10, 0)
        stats.generated(5)
        await asyncio.sleep(0.08)
        assert len(lines) == 1
        stats.step(0, 0, 0.0, 0, 8, 4, 0, 1)
        await asyncio.sleep(0.25)
        count = len(lines)
        await asyncio.sleep(0.15)
        assert len(lines) == count <= 3
        line.stop()

    asyncio.run(main())
    assert re.match(
        r"Engine 000: Avg prompt throughput: 200.0 tokens/s, Avg generation throughput: 100.0 tokens/s, "
        r"Running: 1 reqs, Waiting: 2 reqs, KV cache usage: 50.0%, Prefix cache hit rate: 50.0%$",
        lines[0],
    )


def test_the_format_of_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("penstock")
    before = (log.handlers[:], log.level, log.propagate)
    try:
        our_logging.setup("info", "APIServer")
        our_logging.get_logger("penstock.x").info("hello %d", 5)
        our_logging.get_logger("penstock.x").debug("hidden")
    finally:
        log.handlers, log.propagate = before[0], before[2]
        log.setLevel(before[1])
    error = capfd.readouterr().err
    assert re.fullmatch(r"\(APIServer pid=\d+\) INFO \d\d-\d\d \d\d:\d\d:\d\d \[test_stats.py:\d+\] hello 5\n", error)


def test_quiet_paths_have_no_access_line() -> None:
    quiet = our_logging.QuietPaths(frozenset({"/health"}))

    def record(path: str) -> logging.LogRecord:
        return logging.LogRecord("uvicorn.access", 20, "", 1, "%s %s %s", ("1.2.3.4", "GET", path), None)

    assert [quiet.filter(record(p)) for p in ("/health", "/health?x=1", "/v1/models")] == [False, False, True]
