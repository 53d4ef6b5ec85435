"""`scripts/bench growth`: how cost grows with waiting requests and with context; a table, and a plot as SVG.

The bundled model cut to one layer with made-up weights, so that what is seen is the engine. Host time is the core's
own, without the device's; front time is the CPU time of the process that tokenizes, detokenizes and streams.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import statistics
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from plot import Plot

from penstock import SamplingParams
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.engine.async_engine import AsyncLLM
from penstock.engine.request_state import OpenRequest
from penstock.engine.request_stream import RequestStream
from penstock.engine.sync_engine import SyncEngine
from penstock.executor.base import Executor
from penstock.params import RequestOutputKind
from penstock.scheduler.plan import StepPlan, StepResult

WAITING = (1, 10, 100, 1_000, 10_000)
CONTEXTS = (128, 512, 2_048, 8_192, 32_768)
RUNNING, PROMPT, STEPS, FRONT_SECONDS = 16, 32, 200, 3.0
LONG_ROWS = 4
OVERRIDES = {"num_hidden_layers": 1, "max_position_embeddings": 40_000}
POLICIES = ("fcfs", "priority")
Record = dict[str, float]


class TimedExecutor:
    """Passes on, and sums up how long steps take on the device."""

    def __init__(self, inner: Executor):
        self._inner = inner
        self.seconds = 0.0

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        start = time.perf_counter()
        try:
            return self._inner.execute(plan)
        finally:
            self.seconds += time.perf_counter() - start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def engine_args(max_model_len: int, seqs: int, policy: str = "fcfs") -> EngineArgs:
    return EngineArgs(
        load_format="dummy",
        hf_overrides=OVERRIDES,
        max_model_len=max_model_len,
        max_num_seqs=seqs,
        kv_cache_memory_bytes=1 << 30,
        scheduling_policy=policy,
        use_tqdm_on_load=False,
    )


def prompt(rng: random.Random, length: int) -> list[int]:
    return [rng.randrange(300, 4000) for _ in range(length)]


def endless(**options: Any) -> SamplingParams:
    return SamplingParams(max_tokens=None, temperature=0.0, ignore_eos=True, **options)


def timed_steps(engine: SyncEngine, count: int, rows: int) -> Record:
    """Steps per second, and microseconds of host time per step; medians over `count` steps with `rows` rows each."""
    device = TimedExecutor(engine._core.executor)
    engine._core.executor = device  # type: ignore[assignment]
    gc.collect()
    whole, host = [], []
    for _ in range(count):
        start, before = time.perf_counter(), device.seconds
        engine.step()
        whole.append(time.perf_counter() - start)
        host.append(whole[-1] - (device.seconds - before))
    engine._core.executor = device._inner
    host_us = statistics.median(host) * 1e6
    return {
        "steps_per_s": 1.0 / statistics.median(whole),
        "host_us_per_step": host_us,
        "host_us_per_token": host_us / rows,
    }


def with_waiting(policy: str, counts: tuple[int, ...]) -> dict[int, Record]:
    """The core alone, while so many requests wait."""
    engine = SyncEngine.from_config(resolve(engine_args(4_096, RUNNING, policy), usage="offline"))
    rng, found = random.Random(0), {}
    open_requests: list[OpenRequest] = []
    for count in counts:
        missing = RUNNING + count - len(open_requests)
        for parsed, ids in engine.tokenize([prompt(rng, PROMPT) for _ in range(missing)]):
            open_requests.append(engine.add(parsed, ids, endless(), priority=rng.randrange(5)))
        for _ in range(10):
            engine.step()
        found[count] = timed_steps(engine, STEPS, RUNNING)
    start = time.perf_counter()
    engine.abort(open_requests)
    found[counts[-1]]["abort_us_per_request"] = (time.perf_counter() - start) / len(open_requests) * 1e6
    engine.shutdown()
    return found


def with_context(lengths: tuple[int, ...]) -> dict[int, Record]:
    """The core alone, with contexts of so many tokens."""
    engine = SyncEngine.from_config(resolve(engine_args(lengths[-1] + 1_024, LONG_ROWS), usage="offline"))
    rng, found = random.Random(0), {}
    for length in lengths:
        beginning = prompt(rng, length - 8)
        made = engine.tokenize([beginning + prompt(rng, 8) for _ in range(LONG_ROWS)])
        requests = [engine.add(parsed, ids, endless()) for parsed, ids in made]
        while any(not request.answers[0].num_tokens for request in requests):
            engine.step()
        found[length] = timed_steps(engine, STEPS // 4, LONG_ROWS)
        engine.abort(requests)
    engine.shutdown()
    return found


async def front(counts: tuple[int, ...]) -> dict[int, Record]:
    """The front with an engine of its own, while so many streams wait."""
    engine = AsyncLLM(resolve(engine_args(4_096, RUNNING), usage="server"))
    await engine.start()
    await engine.wait_ready()
    rng, found, tokens = random.Random(0), {}, 0
    readers: list[asyncio.Task[None]] = []

    async def read(stream: RequestStream) -> None:
        nonlocal tokens
        async for output in stream:
            tokens += len(output.outputs[0].token_ids)

    for count in counts:
        while len(readers) < RUNNING + count:
            params = endless(output_kind=RequestOutputKind.DELTA)
            stream = await engine.submit(prompt(rng, PROMPT), params, f"r{len(readers)}")
            readers.append(asyncio.create_task(read(stream)))
        await asyncio.sleep(1.0)
        gc.collect()
        cpu, before = time.process_time(), tokens
        await asyncio.sleep(FRONT_SECONDS)
        found[count] = {"front_us_per_token": (time.process_time() - cpu) / (tokens - before) * 1e6}
    await engine.shutdown()
    await asyncio.gather(*readers, return_exceptions=True)
    return found


def table(title: str, head: str, found: dict[int, Record]) -> str:
    names = list(dict.fromkeys(name for record in found.values() for name in record))
    lines = [f"### {title}", "", f"| {head} | {' | '.join(n.replace('_', ' ') for n in names)} |"]
    lines.append("|" + "---|" * (len(names) + 1))
    for key, record in found.items():
        cells = [f"{record[name]:.3g}" if name in record else "" for name in names]
        lines.append(f"| {key:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder for growth.svg, growth.md")
    parser.add_argument("--max-waiting", type=int, default=WAITING[-1])
    parser.add_argument("--max-context", type=int, default=CONTEXTS[-1])
    args = parser.parse_args()
    counts = tuple(n for n in WAITING if n <= args.max_waiting)
    lengths = tuple(n for n in CONTEXTS if n <= args.max_context)
    cores = {policy: with_waiting(policy, counts) for policy in POLICIES}
    fronts = asyncio.run(front(counts))
    contexts = with_context(lengths)
    for count, record in fronts.items():
        cores["fcfs"][count] |= record
    text = "\n".join(
        [table(f"{RUNNING} running, so many waiting ({p})", "waiting", found) for p, found in cores.items()]
        + [table(f"{LONG_ROWS} running, with so much context", "context", contexts)]
    )
    print(text)
    plot = Plot("Cost against waiting requests (left) and context (right)", "microseconds")
    waiting = plot.panel("waiting requests")
    waiting.line("front, per token", {n: r["front_us_per_token"] for n, r in fronts.items()})
    for policy, found in cores.items():
        waiting.line(f"core's host, per step ({policy})", {n: r["host_us_per_step"] for n, r in found.items()})
        waiting.line(f"whole step ({policy})", {n: 1e6 / r["steps_per_s"] for n, r in found.items()})
    by_context = plot.panel("tokens of context")
    by_context.line("core's host, per step", {n: r["host_us_per_step"] for n, r in contexts.items()})
    by_context.line("whole step", {n: 1e6 / r["steps_per_s"] for n, r in contexts.items()})
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "growth.svg").write_text(plot.svg())
    (args.out / "growth.md").write_text(f"# How cost grows\n\n![plot](growth.svg)\n\n{text}")


if __name__ == "__main__":
    main()
