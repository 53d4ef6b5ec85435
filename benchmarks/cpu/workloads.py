"""The offline workloads W1 to W7, and the loop in which an engine's own process runs those it is told to.

Runs in the virtual environment of each peer, so it uses the standard library alone. The process reads one workload
name per line and answers each with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

LOW_ID, HIGH_ID = 100, 3000  # ids that exist in every tokenizer used here
REPEATS = {"W1": 5, "W2": 2, "W5": 2, "W7": 2}  # in one measurement; the others once
WORKLOADS = {
    "W1": "prefill, 1 x 128 tokens (tok/s)",
    "W2": "decode, batch 1 after 128 tokens (tok/s)",
    "W3": "prefill, 16 x 1024 tokens (tok/s)",
    "W4": "decode, batch 16 at context 1024 (tok/s)",
    "W5": "decode, batch 64 at context 128 (tok/s)",
    "W6": "16 requests, shared 1024 prefix + 32, 16 out (s)",
    "W7": "tiny model, 256 x 32 in / 64 out (output tok/s)",
}
Prompts = list[list[int]]


class Engine(Protocol):
    """What a benchmark needs of an engine.

    Attributes:
        prefix_cache: whether a prompt that ran before costs little the next time.
    """

    prefix_cache: bool

    def version(self) -> str: ...

    def generate(self, prompts: Prompts, max_tokens: int) -> list[int]:
        """Run greedily past the end of sequence; how many tokens each request got."""

    def decode_seconds(self, prompts: Prompts, steps: int) -> float | None:
        """Seconds of so many decode steps of the batch, prefill excluded; None if only `generate` can be timed."""

    def close(self) -> None: ...


class Runner:
    """Times the workloads on one engine. Every prompt is new random tokens, so that a prefix cache helps only where
    the workload says so.

    Raises:
        RuntimeError: a request did not get its tokens; an engine that stops early must not look fast.
    """

    def __init__(self, engine: Engine, seed: int = 0):
        self._engine = engine
        self._rng = random.Random(seed)
        self._long: Prompts = []
        self._short: Prompts = []

    def warm_up(self) -> None:
        """Let an engine use as much memory as it will: what is touched for the first time costs a virtual machine more
        than the arithmetic, and only some engines touch theirs when they start."""
        self._timed(self._new(16, 1024), 1)
        self._timed(self._new(1, 128), 4)

    def run(self, workload: str) -> list[float]:
        """The values of one measurement."""
        once: Callable[[], float] = getattr(self, "_" + workload.lower())
        return [once() for _ in range(REPEATS.get(workload, 1))]

    def _new(self, count: int, length: int) -> Prompts:
        return [[self._rng.randrange(LOW_ID, HIGH_ID) for _ in range(length)] for _ in range(count)]

    def _timed(self, prompts: Prompts, max_tokens: int) -> float:
        start = time.perf_counter()
        got = self._engine.generate(prompts, max_tokens)
        seconds = time.perf_counter() - start
        if list(got) != [max_tokens] * len(prompts):
            raise RuntimeError(f"asked for {max_tokens} tokens per request, got {sorted(set(got))}")
        return seconds

    def _w1(self) -> float:
        return 128 / self._timed(self._new(1, 128), 1)

    def _w2(self) -> float:
        first = statistics.median(self._timed(self._new(1, 128), 1) for _ in range(3))
        return 63 / (self._timed(self._new(1, 128), 64) - first)

    def _w3(self) -> float:
        self._long = self._new(16, 1024)
        return 16 * 1024 / self._timed(self._long, 1)

    def _w4(self) -> float:
        self._long = self._long or self._new(16, 1024)
        return self._batch_decode(self._long)

    def _w5(self) -> float:
        self._short = self._short or self._new(64, 128)
        return self._batch_decode(self._short)

    def _batch_decode(self, base: Prompts, steps: int = 32) -> float:
        """Each prompt gets a new last token: its cached prefix is used again, its result is not."""
        if self._engine.prefix_cache:
            self._timed(base, 1)
        longer = [p + t for p, t in zip(base, self._new(len(base), 1), strict=True)]
        seconds = self._engine.decode_seconds(longer, steps)
        if seconds is None:
            first = self._timed(longer, 1)
            again = [[*p[:-1], p[-1] ^ 1] for p in longer]
            seconds = self._timed(again, steps + 1) - first
        if seconds <= 0:
            raise RuntimeError(f"{steps} steps more took {seconds:.2f} s: one of both runs was disturbed")
        return len(base) * steps / seconds

    def _w6(self) -> float:
        (prefix,) = self._new(1, 1024)
        return self._timed([prefix + tail for tail in self._new(16, 32)], 16)

    def _w7(self) -> float:
        self._timed(self._new(16, 32), 8)
        return 256 * 64 / self._timed(self._new(256, 32), 64)


def arguments() -> argparse.ArgumentParser:
    """The options every adapter has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--first-token", action="store_true", help="say when the first token is there, and end")
    return parser


def serve(open_engine: Callable[[], Engine], first_token: bool) -> None:
    """Run what stdin asks for, one workload a line, until it ends; answers are lines of JSON.

    Whatever the engine prints goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    start = time.perf_counter()
    engine = open_engine()
    runner = Runner(engine)
    try:
        if first_token:
            engine.generate(runner._new(1, 128), 1)
            print("{}", file=answers)
            return
        runner.warm_up()
        hello = {"version": engine.version(), "load_s": round(time.perf_counter() - start, 2)}
        print(json.dumps(hello), file=answers)
        for line in sys.stdin:
            print(json.dumps(_answer(runner, line.strip())), file=answers)
    finally:
        engine.close()


def _answer(runner: Runner, workload: str) -> dict[str, object]:
    start = time.perf_counter()
    try:
        values = [round(v, 4) for v in runner.run(workload)]
    except Exception as e:  # one failed workload must not hide the rest
        return {"error": f"{type(e).__name__}: {e}"[:300]}
    return {"values": values, "wall_s": round(time.perf_counter() - start, 1)}
