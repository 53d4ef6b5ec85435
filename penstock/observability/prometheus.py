"""Renders what is counted as Prometheus text, with vLLM's names under a prefix of our own (or vLLM's).

Nothing is counted here: the numbers are read from the plain counters when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from penstock.observability.http_stats import HttpStats
from penstock.observability.stats import Histogram, StatsRecorder

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

GAUGES = {
    "num_requests_running": ("running", "Requests in the running batch."),
    "num_requests_waiting": ("waiting", "Requests that wait to run."),
    "kv_cache_usage_perc": ("kv_usage", "Share of the KV blocks that is in use, 0 to 1."),
}
COUNTERS = {
    "prefix_cache_queries": ("prefix_queries", "Prompt tokens looked up in the prefix cache."),
    "prefix_cache_hits": ("prefix_hits", "Prompt tokens found in the prefix cache."),
    "num_preemptions": ("preemptions", "Requests that had to give their KV blocks back."),
    "prompt_tokens": ("prompt_tokens", "Prompt tokens processed."),
    "prompt_tokens_cached": ("cached_prompt_tokens", "Prompt tokens taken from the prefix cache."),
    "generation_tokens": ("generation_tokens", "Tokens generated."),
}
HISTOGRAMS = {
    "iteration_tokens_total": ("step_tokens", "Tokens of one engine step."),
    "time_to_first_token_seconds": ("ttft", "From arrival to the first token."),
    "inter_token_latency_seconds": ("inter_token_latency", "Between two tokens of a request."),
    "request_time_per_output_token_seconds": ("time_per_output_token", "Mean over a request's tokens but the first."),
    "e2e_request_latency_seconds": ("e2e", "From arrival to the end."),
    "request_queue_time_seconds": ("queue_time", "From arrival to the first step."),
    "request_inference_time_seconds": ("inference_time", "From the first step to the last token."),
    "request_prefill_time_seconds": ("prefill_time", "From the first step to the first token."),
    "request_decode_time_seconds": ("decode_time", "From the first token to the last."),
    "request_prompt_tokens": ("request_prompt_tokens", "Prompt tokens of a request."),
    "request_generation_tokens": ("request_generation_tokens", "Tokens generated for a request."),
    "request_max_num_generation_tokens": ("request_longest_answer", "Most tokens of one answer of a request."),
    "request_params_max_tokens": ("request_max_tokens", "Limit of tokens of a request."),
    "request_prefill_kv_computed_tokens": ("request_computed_tokens", "Prompt tokens computed, not cached."),
    "request_params_n": ("request_n", "Answers asked for by a request."),
    "request_num_preemptions": ("request_preemptions", "Preemptions of a request."),
}


class MetricsPage:
    """The text of /metrics.

    Args:
        prefix: first part of the engine's names.
        model_name: first served name.
        cache_info: values that `cache_config_info` shows as labels.
    """

    def __init__(
        self, stats: StatsRecorder, http: HttpStats, prefix: str, model_name: str, cache_info: Mapping[str, Any]
    ):
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(EngineCollector(stats, prefix, model_name, cache_info))
        self._registry.register(_HttpCollector(http))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self) -> bytes:
        return generate_latest(self._registry)


class EngineCollector(Collector):
    """What is counted about the engine; arguments are those of `MetricsPage`."""

    def __init__(self, stats: StatsRecorder, prefix: str, model_name: str, cache_info: Mapping[str, Any]):
        self._stats = stats
        self._prefix = prefix
        self._labels = ["model_name", "engine"]
        self._values = [model_name, "0"]
        self._cache_info = {name: str(value) for name, value in cache_info.items()}

    def collect(self) -> Iterable[Metric]:
        yield from self._plain()
        yield from self._labelled()
        for name, (field, text) in HISTOGRAMS.items():
            family = HistogramMetricFamily(f"{self._prefix}:{name}", text, labels=self._labels)
            _add_histogram(family, self._values, getattr(self._stats, field))
            yield family

    def _plain(self) -> Iterator[Metric]:
        for name, (field, text) in GAUGES.items():
            gauge = GaugeMetricFamily(f"{self._prefix}:{name}", text, labels=self._labels)
            gauge.add_metric(self._values, getattr(self._stats, field))
            yield gauge
        for name, (field, text) in COUNTERS.items():
            counter = CounterMetricFamily(f"{self._prefix}:{name}", text, labels=self._labels)
            counter.add_metric(self._values, getattr(self._stats, field))
            yield counter

    def _labelled(self) -> Iterator[Metric]:
        stats = self._stats
        yield self._by_label(
            "request_success", "Requests finished, by reason.", "finished_reason", stats.requests_finished
        )
        yield self._by_label(
            "prompt_tokens_by_source",
            "Prompt tokens, by where their KV came from.",
            "source",
            {
                "local_compute": stats.prompt_tokens - stats.cached_prompt_tokens,
                "local_cache_hit": stats.cached_prompt_tokens,
            },
        )
        rejections = CounterMetricFamily(
            f"{self._prefix}:admission_rejections", "Requests turned away.", labels=["model_name", "reason"]
        )
        for reason, count in stats.rejections.items():
            rejections.add_metric([self._values[0], reason], count)
        yield rejections
        if not self._cache_info:
            return
        info = GaugeMetricFamily(
            f"{self._prefix}:cache_config_info", "Settings of the KV cache.", labels=[*self._cache_info, "engine"]
        )
        info.add_metric([*self._cache_info.values(), "0"], 1)
        yield info

    def _by_label(self, name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
        family = CounterMetricFamily(f"{self._prefix}:{name}", text, labels=[*self._labels, label])
        for value, count in counts.items():
            family.add_metric([*self._values, value], count)
        return family


class _HttpCollector(Collector):
    def __init__(self, stats: HttpStats):
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        stats = self._stats
        requests = CounterMetricFamily("http_requests", "HTTP requests.", labels=["handler", "method", "status"])
        for key, count in list(stats.requests.items()):
            requests.add_metric(list(key), count)
        yield requests
        for name, sums in (("request", stats.request_bytes), ("response", stats.response_bytes)):
            sizes = SummaryMetricFamily(f"http_{name}_size_bytes", f"Size of {name} bodies.", labels=["handler"])
            for handler, (count, total) in list(sums.items()):
                sizes.add_metric([handler], count, total)
            yield sizes
        text = "Duration of HTTP requests."
        durations = HistogramMetricFamily("http_request_duration_seconds", text, labels=["handler", "method"])
        for (handler, method), histogram in list(stats.durations.items()):
            _add_histogram(durations, [handler, method], histogram)
        yield durations
        fine = HistogramMetricFamily("http_request_duration_highr_seconds", text, labels=[])
        _add_histogram(fine, [], stats.fine_durations)
        yield fine


def _add_histogram(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    buckets, running = [], 0
    bounds = [*(str(float(b)) for b in histogram.bounds), "+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        running += count
        buckets.append((bound, running))
    family.add_metric(labels, buckets, histogram.total)
