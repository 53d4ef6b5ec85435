"""The engines that are compared, where they are installed, and a process that holds one and measures on demand.

Processes that are not measuring are stopped (SIGSTOP), so that several engines can be loaded at once and take turns
within seconds, without one that polls while idle taking time from another.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
OURS = "penstock"
KV_BYTES = 3 << 30  # as vLLM's


@dataclass(frozen=True)
class EngineSpec:
    """One column of a table.

    Attributes:
        peer: who it is: the name of the virtual environment.
        adapter: the program that drives it.
        weights: "bf16", "int8", "int4" or "tiny": the rows it runs in.
        model: below the folder of models.
    """

    name: str
    peer: str
    adapter: str
    weights: str
    model: str
    arguments: tuple[str, ...] = ()


def _ours(suffix: str, weights: str, model: str, quantization: str = "") -> EngineSpec:
    options = [f"kv_cache_memory_bytes={KV_BYTES}"]
    if quantization:
        options.append(f'quantization="{quantization}"')
    arguments = tuple(word for option in options for word in ("--option", option))
    return EngineSpec(f"penstock-{suffix}", OURS, "adapter_llm.py", weights, model, arguments)


def _peer(peer: str, suffix: str, weights: str, model: str) -> EngineSpec:
    if peer == "vllm":
        return EngineSpec(f"vllm-{suffix}", peer, "adapter_llm.py", weights, model, ("--module", "vllm"))
    return EngineSpec(f"{peer}-{suffix}", peer, f"adapter_{peer}.py", weights, model)


BASE = "qwen3-0.6b"
ENGINES = [
    _ours("bf16", "bf16", BASE),
    _peer("vllm", "bf16", "bf16", BASE),
    _peer("llamacpp", "bf16", "bf16", f"gguf/{BASE}-bf16.gguf"),
    _peer("openvino", "bf16", "bf16", f"openvino/{BASE}-bf16"),
    _ours("int8", "int8", BASE, "int8"),
    _ours("w8a8", "int8", f"{BASE}-w8a8"),
    _peer("vllm", "w8a8", "int8", f"{BASE}-w8a8"),
    _peer("llamacpp", "q8_0", "int8", f"gguf/{BASE}-q8_0.gguf"),
    _peer("openvino", "int8", "int8", f"openvino/{BASE}-int8"),
    _ours("int4", "int4", BASE, "int4"),
    _ours("w4a16", "int4", f"{BASE}-w4a16"),
    _peer("vllm", "w4a16", "int4", f"{BASE}-w4a16"),
    _peer("llamacpp", "q4_K_M", "int4", f"gguf/{BASE}-q4_K_M.gguf"),
    _peer("openvino", "int4", "int4", f"openvino/{BASE}-int4"),
    _ours("tiny", "tiny", "tiny"),
    _peer("vllm", "tiny", "tiny", "tiny"),
    _peer("llamacpp", "tiny", "tiny", "gguf/tiny-bf16.gguf"),
    _peer("openvino", "tiny", "tiny", "openvino/tiny-bf16"),
]


@dataclass(frozen=True)
class Places:
    """Where things are.

    Attributes:
        peers: folder with one virtual environment per peer.
        models: folder of the checkpoints.
        vllm_preload: LD_PRELOAD for vLLM, whose guide asks for tcmalloc and libiomp5.
    """

    peers: Path
    models: Path
    threads: int
    vllm_preload: str = ""
    verbose: bool = False

    def python(self, peer: str) -> Path:
        return Path(sys.executable) if peer == OURS else self.peers / peer / "bin" / "python"

    def environment(self, peer: str) -> dict[str, str]:
        env = {**os.environ, "HF_HUB_OFFLINE": "1"}
        if peer == "vllm" and self.vllm_preload:
            env["LD_PRELOAD"] = self.vllm_preload
        if peer == OURS:
            env["PYTHONPATH"] = str(HERE.parent.parent)
            env["OMP_NUM_THREADS"] = str(self.threads)
        return env

    def missing(self, spec: EngineSpec) -> str | None:
        """Why this engine cannot run here."""
        if not self.python(spec.peer).exists():
            return (
                f"{spec.name}: no {self.python(spec.peer)}; PEERS_DIR={self.peers} benchmarks/cpu/peers.sh {spec.peer}"
            )
        if not (self.models / spec.model).exists():
            made = f"MODELS_DIR={self.models} python benchmarks/cpu/make_models.py all"
            return f"{spec.name}: no {self.models / spec.model}; {made}"
        return None

    def command(self, spec: EngineSpec) -> list[str]:
        model = str(self.models / spec.model)
        program = [str(self.python(spec.peer)), str(HERE / spec.adapter), *spec.arguments]
        return [*program, "--model", model, "--threads", str(self.threads)]


class Pausable:
    """A process with all its descendants, which can be stopped and continued."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path, **pipes: Any):
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, env=env, stderr=out, process_group=0, **pipes)

    def tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def pause(self) -> None:
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self) -> None:
        for process in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-1500:]


class LoadedEngine:
    """An engine in a process of its own, paused whenever nothing is asked of it.

    Raises:
        RuntimeError: it does not load; the end of its log is in the message.
    """

    def __init__(self, spec: EngineSpec, places: Places, log: Path):
        self.spec = spec
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self._process = Pausable(places.command(spec), places.environment(spec.peer), log, **pipes)
        self.hello = self._answer()
        self._process.pause()

    def measure(self, workload: str) -> dict[str, Any]:
        """`values` and `wall_s`, or `error`."""
        self._process.resume()
        try:
            assert self._process.process.stdin is not None
            self._process.process.stdin.write(workload + "\n")
            return self._answer()
        except (OSError, RuntimeError) as e:
            return {"error": str(e)[:500]}
        finally:
            self._process.pause()

    def close(self) -> None:
        self._process.resume()
        assert self._process.process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.process.wait(20)
        self._process.kill()

    def _answer(self) -> dict[str, Any]:
        assert self._process.process.stdout is not None
        line = self._process.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.spec.name} ended:\n{self._process.tail()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass(frozen=True)
class ColdStart:
    """Seconds from the start of a process to its first token, and the most memory its processes had then."""

    seconds: float
    peak_mib: float


def cold_start(spec: EngineSpec, places: Places, log: Path) -> ColdStart:
    """Start a fresh process and wait for its first token.

    Raises:
        RuntimeError: it ended before.
    """
    _warm(places.models / spec.model)
    command = [*places.command(spec), "--first-token"]
    start = time.perf_counter()
    process = Pausable(command, places.environment(spec.peer), log, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.process.stdout is not None
    line = process.process.stdout.readline()
    seconds = time.perf_counter() - start
    peak = sum(p.memory_info().rss for p in process.tree()) / 2**20
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.process.wait(60)
    process.kill()
    if not line:
        raise RuntimeError(f"{spec.name} ended before its first token:\n{process.tail()}")
    return ColdStart(seconds, peak)


def _warm(model: Path) -> None:
    """Read a model's files: they may have left the page cache while other engines ran."""
    for file in model.iterdir() if model.is_dir() else [model]:
        with file.open("rb") as f:
            while f.read(1 << 24):
                pass
