"""The rows of the table: what each measures, between whom, and what Penstock is to reach in it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import ceilings
import workloads
from ceilings import Rates

OURS = "penstock"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        key: its name on the command line, as W2-int8.
        weights: "bf16", "int8", "int4", "tiny" (offline), or "start", "serve", "front", "rest" (processes, servers).
        better: "more" or "less".
        ratio: goal against the best peer in the same run; None if there is none.
        bound: goal in the row's own unit; None if there is none.
        of_limit: share of the machine's limit that is to be reached.
    """

    key: str
    workload: str
    weights: str
    title: str
    better: str = "more"
    ratio: float | None = None
    bound: float | None = None
    of_limit: float | None = None


def _offline(workload: str, weights: str, ratio: float, of_limit: float | None = None) -> Row:
    key = workload if weights in ("bf16", "tiny") else f"{workload}-{weights}"
    title = workloads.WORKLOADS[workload]
    named = {"int8": "8-bit weights: ", "int4": "4-bit weights: "}.get(weights, "")
    return Row(key, workload, weights, named + title, "less" if workload == "W6" else "more", ratio, None, of_limit)


ROWS = [
    _offline("W1", "bf16", 1.10),
    _offline("W2", "bf16", 1.0, 0.92),
    _offline("W3", "bf16", 1.08),
    _offline("W4", "bf16", 1.7),
    _offline("W5", "bf16", 1.3),
    _offline("W6", "bf16", 0.85),
    _offline("W1", "int8", 1.2),
    _offline("W2", "int8", 1.3),
    _offline("W3", "int8", 1.2),
    _offline("W4", "int8", 1.6),
    _offline("W5", "int8", 1.4),
    _offline("W2", "int4", 1.4),
    _offline("W4", "int4", 1.6),
    _offline("W5", "int4", 1.4),
    _offline("W7", "tiny", 2.0),
    Row("W8", "W8", "start", "process start to first token (s)", "less", bound=2.5),
    Row("serve", "output_throughput", "serve", "server, 64 x 256 in / 64 out, 16 at a time (tok/s)", ratio=1.6),
    Row("serve-itl", "p99_itl_ms", "serve", "the same: p99 between tokens (ms)", "less", ratio=0.5),
    Row("front", "front_us", "front", "CPU per streamed token, API server and engine, tiny model (us)", "less", 0.4),
    Row("idle", "idle_percent", "rest", "CPU of the idle server (% of a core)", "less", bound=1.0),
    Row("memory", "pss_mb", "rest", "memory of all processes of the server (MB)", "less"),
]

Results = dict[str, dict[str, list[float]]]  # row key -> engine -> one value per round (NaN where it failed)


@dataclass(frozen=True)
class Verdict:
    """A row, evaluated: medians over the rounds.

    Attributes:
        values: engine -> median.
        ratio: Penstock's to the best peer's, the median of the rounds' ratios.
        met: None where nothing can be said.
    """

    row: Row
    values: dict[str, float]
    limit: float | None
    ours: str | None
    best_peer: str | None
    ratio: float | None
    met: bool | None


def judge(row: Row, measured: dict[str, list[float]], rates: Rates | None, memory_bound: float | None) -> Verdict:
    """Evaluate a row.

    Args:
        measured: engine -> values, one per round. The first of Penstock's engines is the one that is judged.
        rates: of the machine; None if they were not measured.
        memory_bound: the goal of the memory row, which depends on the model.
    """
    values = {name: statistics.median(v) for name, v in measured.items() if v}
    peers = [name for name in values if not name.startswith(OURS)]
    choose = max if row.better == "more" else min
    best = choose(peers, key=values.__getitem__) if peers else None
    ours = next((name for name in values if name.startswith(OURS)), None)
    limit = ceilings.limit(row.workload, row.weights, rates) if rates and row.weights in ceilings.WEIGHT_BYTES else None
    ratio = None
    if ours and best:
        ratio = statistics.median(a / b for a, b in zip(measured[ours], measured[best], strict=False))
    met = _met(row, values[ours], ratio, limit, memory_bound) if ours else None
    return Verdict(row, values, limit, ours, best, ratio, met)


def _met(row: Row, value: float, ratio: float | None, limit: float | None, memory_bound: float | None) -> bool | None:
    checks: list[bool | None] = []
    if row.ratio is not None:
        checks.append(None if ratio is None else _reached(row, ratio, row.ratio))
    if row.of_limit is not None:
        checks.append(None if limit is None else value >= row.of_limit * limit)
    bound = memory_bound if row.key == "memory" else row.bound
    if bound is not None:
        checks.append(_reached(row, value, bound))
    if False in checks:
        return False
    return None if None in checks or not checks else True


def _reached(row: Row, value: float, goal: float) -> bool:
    return value >= goal if row.better == "more" else value <= goal


def goal_text(row: Row, memory_bound: float | None = None) -> str:
    """The goal in words for the table."""
    sign = ">=" if row.better == "more" else "<="
    parts = []
    if row.ratio is not None:
        parts.append(f"{sign} {row.ratio:g} x")
    if row.of_limit is not None:
        parts.append(f"{sign} {100 * row.of_limit:.0f} % of limit")
    bound = memory_bound if row.key == "memory" else row.bound
    if bound is not None:
        parts.append(f"{sign} {bound:.4g}")
    return ", ".join(parts)


def chosen(patterns: Sequence[str]) -> list[Row]:
    """Rows by name; `W*-int8` and the like are patterns.

    Raises:
        KeyError: a pattern fits no row.
    """
    from fnmatch import fnmatchcase

    for pattern in patterns:
        if not any(fnmatchcase(row.key, pattern) for row in ROWS):
            raise KeyError(pattern)
    return [row for row in ROWS if not patterns or any(fnmatchcase(row.key, p) for p in patterns)]
