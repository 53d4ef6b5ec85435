"""From the outcomes of a serving benchmark to its numbers, under the names of the result file. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.benchmarks.backends import Outcome
from penstock.errors import StartError

LATENCIES = ("ttft", "tpot", "itl", "e2el")


def summarize(
    outcomes: Sequence[Outcome], prompt_lens: Sequence[int], duration: float, goodput: dict[str, float] | None = None
) -> dict[str, Any]:
    """Counts and rates of a run.

    Args:
        prompt_lens: tokens of each prompt; where 0, the server's own count is used.
        duration: seconds of the whole run.
        goodput: bounds in milliseconds by name ("ttft", "tpot", "e2el"); a request is good if it meets all.
    """
    good = [(o, n or o.prompt_tokens) for o, n in zip(outcomes, prompt_lens, strict=True) if o.success]
    total_input = sum(n for _, n in good)
    total_output = sum(o.output_tokens for o, _ in good)
    peak_tokens, peak_requests = _peaks([o for o, _ in good])
    return {
        "duration": duration,
        "completed": len(good),
        "failed": len(outcomes) - len(good),
        "total_input_tokens": total_input,
        "total_output_tokens": total_output,
        "request_throughput": len(good) / duration,
        "request_goodput": sum(_is_good(o, goodput) for o, _ in good) / duration if goodput else None,
        "output_throughput": total_output / duration,
        "total_token_throughput": (total_input + total_output) / duration,
        "max_output_tokens_per_s": peak_tokens,
        "max_concurrent_requests": peak_requests,
        "rtfx": 0.0,  # seconds of audio per second; there is no audio backend
    }


def latency_stats(outcomes: Sequence[Outcome], names: Sequence[str], percentiles: Sequence[float]) -> dict[str, float]:
    """mean_, median_, std_ and pNN_ of each named latency in milliseconds; 0 where nothing was measured."""
    good = [o for o in outcomes if o.success]
    values = {
        "ttft": [o.ttft for o in good],
        "tpot": [o.tpot for o in good if o.output_tokens > 1],
        "itl": [gap for o in good for gap in o.itl],
        "e2el": [o.latency for o in good],
    }
    out: dict[str, float] = {}
    for name in names:
        ms = 1000 * np.array(values[name] or [0.0])
        out[f"mean_{name}_ms"] = float(ms.mean())
        out[f"median_{name}_ms"] = float(np.median(ms))
        out[f"std_{name}_ms"] = float(ms.std())
        for p in percentiles:
            out[f"p{percentile_name(p)}_{name}_ms"] = float(np.percentile(ms, p))
    return out


def percentile_name(p: float) -> str:
    return str(int(p)) if p == int(p) else str(p)


def parse_goodput(pairs: Sequence[str] | None) -> dict[str, float]:
    """["ttft:500", ...] as bounds in milliseconds.

    Raises:
        StartError: an unknown name or a bound that is not a positive number.
    """
    bounds = {}
    for pair in pairs or ():
        name, _, text = pair.partition(":")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if name not in ("ttft", "tpot", "e2el") or not value >= 0:
            raise StartError(f"--goodput takes ttft:MS, tpot:MS or e2el:MS, got {pair!r}")
        bounds[name] = value
    return bounds


def _is_good(outcome: Outcome, bounds: dict[str, float]) -> bool:
    measured = {"ttft": outcome.ttft, "tpot": outcome.tpot, "e2el": outcome.latency}
    return all(1000 * measured[name] <= bound for name, bound in bounds.items())


def _peaks(good: Sequence[Outcome]) -> tuple[float, int]:
    """Most tokens that came within one second of the run, and most requests in flight at one moment."""
    if not good:
        return 0.0, 0
    start = min(o.start for o in good)
    tokens = np.zeros(int(max(o.start + o.latency for o in good) - start) + 1)
    for o in good:
        times = o.start - start + o.ttft + np.cumsum([0.0, *o.itl])
        share = o.output_tokens / len(times)  # a piece of text may hold several tokens
        np.add.at(tokens, np.minimum(times.astype(int), len(tokens) - 1), share)
    # One starts, one ends; of two at the same time the end comes first.
    changes = sorted([(o.start, 1) for o in good] + [(o.start + o.latency, -1) for o in good])
    return float(tokens.max()), int(np.cumsum([change for _, change in changes]).max())
