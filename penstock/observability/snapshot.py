"""What is counted, as Python objects with vLLM's names: for `LLM.get_metrics`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import Metric as Family


@dataclass
class Metric:
    """Something counted under a name, for one set of labels."""

    name: str
    labels: dict[str, str]


@dataclass
class Counter(Metric):
    """Only grows."""

    value: int


@dataclass
class Gauge(Metric):
    """Goes up and down."""

    value: float


@dataclass
class Histogram(Metric):
    """Observed values: how many, their sum, and how many were at most so much, by that bound."""

    count: int
    sum: float
    buckets: dict[str, int]


def snapshot(families: Iterable[Family]) -> list[Metric]:
    """One object per metric and set of labels."""
    found: list[Metric] = []
    for family in families:
        if family.type == "histogram":
            found += _histograms(family)
            continue
        for sample in family.samples:
            if family.type == "counter":
                found.append(Counter(family.name, dict(sample.labels), int(sample.value)))
            elif family.type == "gauge":
                found.append(Gauge(family.name, dict(sample.labels), sample.value))
    return found


def _histograms(family: Family) -> list[Histogram]:
    found: dict[tuple[tuple[str, str], ...], Histogram] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        histogram = found.setdefault(tuple(labels.items()), Histogram(family.name, labels, 0, 0.0, {}))
        if sample.name.endswith("_bucket"):
            histogram.buckets[sample.labels["le"]] = int(sample.value)
        elif sample.name.endswith("_count"):
            histogram.count = int(sample.value)
        elif sample.name.endswith("_sum"):
            histogram.sum = sample.value
    return list(found.values())
