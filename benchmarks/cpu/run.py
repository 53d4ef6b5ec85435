"""`scripts/bench cpu`: every installed engine in every row, taking turns, and the table of goals.

Engines of one row measure one after the other within seconds, and the whole goes round several times: a ratio compares
the same minutes. Results are medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import psutil

import ceilings
import engines
import goals
import report
import serving
from ceilings import Rates
from engines import EngineSpec, LoadedEngine, Places
from goals import Row, Verdict

NEEDED_BYTES = 5 << 30  # free memory without which no engine is loaded beside the others
QUICK_LEAVES_OUT = ("W3*", "W6")
SERVED = ("penstock", "vllm")
TURNS = {"W2": 3}  # a round: its engines only read, and what memory gives changes by half within seconds
Record = dict[str, Any]


class Bench:
    """One run: what was measured, as records that are lines of JSON."""

    def __init__(self, places: Places, rounds: int, patterns: list[str], lock: Path | None, logs: Path):
        self.records: list[Record] = []
        self._places = places
        self._rounds = rounds
        self._patterns = patterns
        self._lock = lock
        self._logs = logs

    def run(self, rows: list[Row]) -> None:
        for weights in ("bf16", "int8", "int4", "tiny"):
            if of_weights := [row for row in rows if row.weights == weights]:
                self._offline(weights, of_weights)
        kinds = {row.weights for row in rows}
        if "start" in kinds:
            self._start()
        if kinds & {"serve", "rest"}:
            self._serve(with_rest="rest" in kinds)
        if "front" in kinds:
            self._front()

    def wants(self, name: str) -> bool:
        return not self._patterns or any(fnmatchcase(name, p) for p in self._patterns)

    def note(self, **record: Any) -> None:
        """Keep a record, and print it at once: what a run that was ended had measured can be rendered, too."""
        self.records.append(record)
        print(json.dumps(record), file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the lock of a machine that others measure on, too."""
        if self._lock is None:
            yield
            return
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _rates(self) -> None:
        command = [sys.executable, str(engines.HERE / "ceilings.py"), str(self._places.threads)]
        with self._alone():
            self.note(rates=json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))

    def _specs(self, weights: str) -> list[EngineSpec]:
        """The engines that are wanted and can run; why others cannot is noted."""
        found = []
        for spec in engines.ENGINES:
            if spec.weights != weights or not self.wants(spec.name):
                continue
            if reason := self._places.missing(spec):
                self.note(missing=reason)
            else:
                found.append(spec)
        return found

    def _offline(self, weights: str, rows: list[Row]) -> None:
        loaded = []
        try:
            for spec in self._specs(weights):
                if (engine := self._load(spec)) is not None:
                    loaded.append(engine)
            for number in range(self._rounds):
                for row in rows:
                    for _ in range(TURNS.get(row.workload, 1)):
                        self._rates()
                        for engine in loaded:
                            self._measure(row, engine, number)
        finally:
            for engine in loaded:
                engine.close()

    def _load(self, spec: EngineSpec) -> LoadedEngine | None:
        free = psutil.virtual_memory().available
        if free < NEEDED_BYTES:
            self.note(engine=spec.name, error=f"not loaded: {free / 2**30:.1f} GiB of memory are left")
            return None
        try:
            with self._alone():
                engine = LoadedEngine(spec, self._places, self._logs / f"{spec.name}.log")
        except RuntimeError as e:
            self.note(engine=spec.name, error=str(e))
            return None
        self.note(engine=spec.name, **engine.hello)
        return engine

    def _measure(self, row: Row, engine: LoadedEngine, number: int) -> None:
        with self._alone():
            answer = engine.measure(row.workload)
        if "error" in answer:
            self.note(row=row.key, engine=engine.spec.name, round=number, error=answer["error"])
            return
        value = statistics.median(answer["values"])
        self.note(row=row.key, engine=engine.spec.name, round=number, value=value, **answer)

    def _start(self) -> None:
        """Cold starts; where one takes long, it is not repeated."""
        slow: set[str] = set()
        for number in range(max(2, self._rounds)):
            for spec in self._specs("bf16"):
                if spec.name in slow:
                    continue
                try:
                    with self._alone():
                        start = engines.cold_start(spec, self._places, self._logs / f"{spec.name}-start.log")
                except RuntimeError as e:
                    self.note(row="W8", engine=spec.name, round=number, error=str(e))
                    continue
                self.note(row="W8", engine=spec.name, round=number, value=start.seconds, peak_mib=start.peak_mib)
                if start.seconds > 15:
                    slow.add(spec.name)

    def _open_servers(self, model: str) -> list[serving.Server]:
        opened = []
        for peer in SERVED:
            if not self.wants(f"{peer}-bf16"):
                continue
            if not self._places.python(peer).exists():
                self.note(missing=f"{peer}-serve: no {self._places.python(peer)}; benchmarks/cpu/peers.sh {peer}")
                continue
            try:
                with self._alone():
                    opened.append(serving.Server(peer, model, self._places, self._logs / f"{peer}-serve.log"))
            except RuntimeError as e:
                self.note(engine=f"{peer}-serve", error=str(e))
        return opened

    def _serve(self, with_rest: bool) -> None:
        opened = self._open_servers(engines.BASE)
        try:
            for number in range(self._rounds):
                for server in opened:
                    with self._alone():
                        result = server.load(serving.UNDER_LOAD)
                    for row in goals.ROWS:
                        if row.weights == "serve":
                            value = result[row.workload]
                            self.note(row=row.key, engine=f"{server.peer}-serve", round=number, value=value)
                    kept = ("median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "p99_tpot_ms", "cpu_s")
                    self.note(load=f"{server.peer}-serve", round=number, **{k: result[k] for k in kept})
            for server in opened if with_rest else []:
                with self._alone():
                    rest = server.idle(20)
                for key, name in (("idle", "idle_percent"), ("memory", "pss_mb")):
                    self.note(row=key, engine=f"{server.peer}-serve", round=0, value=rest[name])
            if with_rest:
                self.note(memory_bound=self._memory_bound())
        finally:
            for server in opened:
                server.close()

    def _memory_bound(self) -> float:
        """MB of the weights, of the KV blocks that were written, warm-ups included, and 700."""
        weights = sum(f.stat().st_size for f in (self._places.models / engines.BASE).glob("*.safetensors"))
        load = serving.UNDER_LOAD
        tokens = 2 * self._rounds * load.requests * (load.input_len + load.output_len)
        return (weights + min(engines.KV_BYTES, tokens * ceilings.KV_BYTES)) / 1e6 + 700

    def _front(self) -> None:
        opened = self._open_servers("tiny")
        try:
            for number in range(self._rounds):
                for server in opened:
                    worker_us = 0.0
                    with self._alone():
                        result = server.load(serving.FRONT)
                        if server.peer == engines.OURS:
                            worker_us = serving.worker_us_per_token("tiny", self._places)
                    value = serving.front_us_per_token(result, worker_us)
                    everything = 1e6 * sum(result["cpu_s"].values()) / result["total_output_tokens"]
                    more = {"all_processes_us": everything, "worker_us": worker_us, "cpu_s": result["cpu_s"]}
                    more["api_server_us"] = serving.api_server_us_per_token(result)
                    more["output_throughput"] = result["output_throughput"]
                    self.note(row="front", engine=f"{server.peer}-serve", round=number, value=value, **more)
        finally:
            for server in opened:
                server.close()


def judged(records: list[Record]) -> tuple[list[Verdict], Rates | None, float | None]:
    """The rows that were measured, evaluated; the machine's rates; the bound of the memory row."""
    rates_seen = [r["rates"] for r in records if "rates" in r]
    rates = {k: statistics.median(r[k] for r in rates_seen) for k in rates_seen[0]} if rates_seen else None
    bound = next((r["memory_bound"] for r in records if "memory_bound" in r), None)
    measured: goals.Results = {}
    for record in records:
        if "row" in record and "value" in record:
            measured.setdefault(record["row"], {}).setdefault(record["engine"], []).append(record["value"])
    verdicts = [goals.judge(row, measured[row.key], rates, bound) for row in goals.ROWS if row.key in measured]
    return verdicts, rates, bound


def page_of(records: list[Record]) -> str:
    """Everything that is to be read, as Markdown."""
    verdicts, rates, bound = judged(records)
    facts = next(r["machine"] for r in records if "machine" in r)
    facts["versions"] = {r["engine"]: r["version"] for r in records if "version" in r}
    notes = list(dict.fromkeys(r["missing"] for r in records if "missing" in r))
    notes += [f"{r.get('row', '')} {r['engine']}: {r['error'].splitlines()[0]}" for r in records if "error" in r]
    return report.page(verdicts, facts, rates, bound, notes)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench cpu", description=__doc__)
    rows, names = ", ".join(r.key for r in goals.ROWS), ", ".join(e.name for e in engines.ENGINES)
    parser.add_argument("--rows", default="", help=f"only these, with commas; patterns as W*-int8. There are: {rows}")
    parser.add_argument(
        "--engines", default="", help=f"only these, with commas; patterns as vllm-*. There are: {names}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one round, without the rows that take longest")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: %(default)s")
    parser.add_argument("--out", type=Path, help="write PATH.jsonl and PATH.md (default: benchmarks/results, if whole)")
    parser.add_argument(
        "--lock", type=Path, help="take this file's lock for each measurement: others measure here, too"
    )
    parser.add_argument("--render", type=Path, help="print the table of this .jsonl again, and measure nothing")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.render:
        print(page_of([json.loads(line) for line in args.render.read_text().splitlines()]))
        return 0
    try:
        rows = goals.chosen([r for r in args.rows.split(",") if r])
    except KeyError as e:
        print(f"--rows: no row {e}; --help names them", file=sys.stderr)
        return 2
    patterns = [e for e in args.engines.split(",") if e]
    if args.quick:
        rows = [row for row in rows if not any(fnmatchcase(row.key, p) for p in QUICK_LEAVES_OUT)]
    places = Places(
        Path(os.environ.get("PEERS_DIR", "peers")).absolute(),
        Path(os.environ.get("MODELS_DIR", "models")).absolute(),
        args.threads,
        os.environ.get("PEER_VLLM_PRELOAD", ""),
    )
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as logs:
        bench = Bench(places, 1 if args.quick else args.rounds, patterns, args.lock, Path(logs))
        bench.note(machine=report.machine_facts(args.threads, {}), arguments=shlex.join(sys.argv[1:]))
        bench.run(rows)
    out = args.out
    if out is None and not (args.rows or args.engines or args.quick):
        out = report.ROOT / "benchmarks" / "results" / f"{datetime.date.today():%Y-%m-%d}-cpu"
    text = page_of(bench.records)
    if out:
        out.with_suffix(".jsonl").write_text("".join(json.dumps(r) + "\n" for r in bench.records))
        out.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
