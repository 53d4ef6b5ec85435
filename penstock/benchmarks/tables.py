"""The table that `bench serve` prints. Its words and widths are vLLM's, because scripts read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.benchmarks.metrics import percentile_name

WIDTH = 50
TITLES = {
    "ttft": ("TTFT", "Time to First Token"),
    "tpot": ("TPOT", "Time per Output Token (excl. 1st token)"),
    "itl": ("ITL", "Inter-token Latency"),
    "e2el": ("E2EL", "End-to-end Latency"),
}


def serving_table(result: dict[str, Any], names: Sequence[str], percentiles: Sequence[float]) -> str:
    """`result` as text.

    Args:
        names: latencies to show, in this order.
        percentiles: of each of them, beside mean and median.
    """
    lines = [f"{' Serving Benchmark Result ':=^{WIDTH}}"]
    lines.append(_row("Successful requests:", result["completed"]))
    lines.append(_row("Failed requests:", result["failed"]))
    if result["max_concurrency"] is not None:
        lines.append(_row("Maximum request concurrency:", result["max_concurrency"]))
    if result["request_rate"] != "inf":
        lines.append(_row("Request rate configured (RPS):", float(result["request_rate"])))
    lines.append(_row("Benchmark duration (s):", result["duration"]))
    lines.append(_row("Total input tokens:", result["total_input_tokens"]))
    lines.append(_row("Total generated tokens:", result["total_output_tokens"]))
    lines.append(_row("Request throughput (req/s):", result["request_throughput"]))
    if result["request_goodput"] is not None:
        lines.append(_row("Request goodput (req/s):", result["request_goodput"]))
    lines.append(_row("Output token throughput (tok/s):", result["output_throughput"]))
    lines.append(_row("Peak output token throughput (tok/s):", float(result["max_output_tokens_per_s"])))
    lines.append(_row("Peak concurrent requests:", float(result["max_concurrent_requests"])))
    if result["rtfx"] > 0:
        lines.append(_row("RTFx (Inverse Real-Time Factor):", result["rtfx"]))
    lines.append(_row("Total token throughput (tok/s):", result["total_token_throughput"]))
    for name in names:
        short, title = TITLES[name]
        lines.append(f"{title:-^{WIDTH}}")
        lines.append(_row(f"Mean {short} (ms):", result[f"mean_{name}_ms"]))
        lines.append(_row(f"Median {short} (ms):", result[f"median_{name}_ms"]))
        for p in map(percentile_name, percentiles):
            lines.append(_row(f"P{p} {short} (ms):", result[f"p{p}_{name}_ms"]))
    lines.append("=" * WIDTH)
    return "\n".join(lines)


def _row(label: str, value: float) -> str:
    return f"{label:<40} {value:<10.2f}" if isinstance(value, float) else f"{label:<40} {value:<10}"
