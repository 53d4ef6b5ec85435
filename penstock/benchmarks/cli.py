"""`penstock bench`: picks the benchmark by its name. What it does and its options are in the file of that name."""

from __future__ import annotations

import sys

from penstock.plugins import Registry

BENCHMARKS = Registry(
    "benchmark",
    {
        "serve": "penstock.benchmarks.serve:serve_command",
        "throughput": "penstock.benchmarks.throughput:throughput_command",
        "latency": "penstock.benchmarks.latency:latency_command",
    },
)
USAGE = """usage: penstock bench {serve,throughput,latency} [options]

  serve        load on a running server: time to first token, time per token, throughput
  throughput   many requests through the engine in this process
  latency      one batch at a time through the engine in this process

`penstock bench NAME --help` lists a benchmark's options."""


def command(argv: list[str]) -> int:
    """`penstock bench NAME ...`."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if argv[0] not in BENCHMARKS:
        print(f"{USAGE}\npenstock bench: there is no benchmark {argv[0]!r}", file=sys.stderr)
        return 2
    return int(BENCHMARKS.get(argv[0])(argv[1:]))
