"""Penstock's and vLLM's servers side by side: throughput and latency under load, what the front costs, idle and memory.

The load comes from `penstock bench serve` in a process of its own, on the same cores as the server.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engines
from engines import Pausable, Places

START_S, SETTLE_S = 300.0, 5.0


@dataclass(frozen=True)
class Load:
    """What the clients send: so many requests, this many at a time, with random prompts."""

    requests: int
    concurrency: int
    input_len: int
    output_len: int


UNDER_LOAD = Load(64, 16, 256, 64)
FRONT = Load(512, 64, 32, 64)
FRONT_SIZES = (FRONT.requests, FRONT.concurrency, FRONT.input_len, FRONT.output_len)


class Server:
    """`serve` of Penstock or vLLM on a free port of the loopback; paused whenever it is not measured."""

    def __init__(self, peer: str, model: str, places: Places, log: Path):
        self.peer = peer
        self._model = places.models / model
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self._port = s.getsockname()[1]
        python = places.python(peer)
        program = [str(python), "-m", "penstock"] if peer == engines.OURS else [str(python.with_name("vllm"))]
        env = places.environment(peer)
        own = ["--kv-cache-memory-bytes", str(engines.KV_BYTES)] if peer == engines.OURS else []
        if peer == "vllm":
            env |= {"VLLM_CPU_KVCACHE_SPACE": "3", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
            env["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{places.threads - 1}"
        limits = ["--max-model-len", "2048", "--host", "127.0.0.1", "--port", str(self._port), *own]
        command = [*program, "serve", str(self._model), "--dtype", "bfloat16", *limits]
        self._process = Pausable(command, env, log, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._wait_until_it_answers()
        self._process.pause()

    def load(self, load: Load, warm_up: bool = True) -> dict[str, Any]:
        """The result of `penstock bench serve`, and the CPU seconds of each of the server's processes."""
        self._process.resume()
        try:
            if warm_up:
                self._send(load, seed=1)  # all of it: memory for keys and values is there then
            before = self._cpu()
            result = self._send(load, seed=time.time_ns() % 2**31)
            after = self._cpu()
            result["cpu_s"] = {name: after[name] - before.get(name, 0.0) for name in after}
            return result
        finally:
            self._process.pause()

    def idle(self, seconds: float) -> dict[str, float]:
        """CPU use in percent of a core, and memory of all processes (PSS), while nothing is asked."""
        self._process.resume()
        try:
            time.sleep(SETTLE_S)
            before, start = sum(self._cpu().values()), time.perf_counter()
            time.sleep(seconds)
            used = sum(self._cpu().values()) - before
            share = 100 * used / (time.perf_counter() - start)
            memory = sum(p.memory_full_info().pss for p in self._process.tree()) / 1e6
            return {"idle_percent": share, "pss_mb": memory}
        finally:
            self._process.pause()

    def close(self) -> None:
        self._process.resume()
        self._process.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.process.wait(20)
        self._process.kill()

    def _cpu(self) -> dict[str, float]:
        """CPU seconds by process, the one that serves HTTP first."""
        used = {}
        for number, process in enumerate(self._process.tree()):
            times = process.cpu_times()
            used[f"{number}:{process.name()}"] = times.user + times.system
        return used

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self._url}/health", timeout=5):
                return
            time.sleep(0.2)
        tail = self._process.tail()
        self._process.kill()
        raise RuntimeError(f"the server of {self.peer} did not answer:\n{tail}")

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _send(self, load: Load, seed: int) -> dict[str, Any]:
        lengths = ["--random-input-len", str(load.input_len), "--random-output-len", str(load.output_len)]
        amounts = ["--num-prompts", str(load.requests), "--max-concurrency", str(load.concurrency)]
        with tempfile.TemporaryDirectory() as folder:
            where = ["--save-result", "--result-dir", folder, "--result-filename", "r.json", "--disable-tqdm"]
            target = ["--base-url", self._url, "--model", str(self._model), "--temperature", "0", "--seed", str(seed)]
            command = [sys.executable, "-m", "penstock", "bench", "serve", *target, *lengths, *amounts, *where]
            root = str(engines.HERE.parent.parent)
            run = subprocess.run(command, capture_output=True, text=True, cwd=root)
            if run.returncode:
                raise RuntimeError(f"the load on {self.peer} failed: {run.stderr[-500:]}")
            result: dict[str, Any] = json.loads((Path(folder) / "r.json").read_text())
        if result["failed"] or result["total_output_tokens"] != load.requests * load.output_len:
            raise RuntimeError(f"{self.peer}: {result['failed']} failed, {result['total_output_tokens']} tokens came")
        return result


def front_us_per_token(result: dict[str, Any], worker_us: float) -> float:
    """CPU microseconds per streamed token of everything but the model's worker.

    vLLM runs its worker as a process of its own, which is left out. Penstock's engine process holds the model too: what
    its model runner was measured to use for the same steps (`worker_cpu.py`) is taken off.
    """
    used = sum(seconds for name, seconds in result["cpu_s"].items() if "Worker" not in name)
    return float(1e6 * used / result["total_output_tokens"] - worker_us)


def api_server_us_per_token(result: dict[str, Any]) -> float:
    """CPU microseconds per streamed token of the process that serves HTTP."""
    used = next(seconds for name, seconds in result["cpu_s"].items() if name.startswith("0:"))
    return float(1e6 * used / result["total_output_tokens"])


def worker_us_per_token(model: str, places: Places) -> float:
    """CPU microseconds per token inside Penstock's model runner, for steps like those of `FRONT`."""
    command = [sys.executable, str(engines.HERE / "worker_cpu.py"), str(places.models / model), *map(str, FRONT_SIZES)]
    env = places.environment(engines.OURS)
    run = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
    return float(run.stdout.split()[-1])
