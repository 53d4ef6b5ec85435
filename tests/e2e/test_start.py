"""How fast it starts, how quiet it idles, how it stops. Bounds are loose: a test machine may be busy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from servers import ROOT, RunningServer, run_server

FIRST_TOKEN = (
    "from penstock import LLM, SamplingParams\n"
    "llm = LLM()\n"
    "print(llm.generate(['Hello'], SamplingParams(max_tokens=1), use_tqdm=False)[0].outputs[0].token_ids)\n"
)


def test_version_is_quick() -> None:
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-m", "penstock", "--version"], capture_output=True, text=True, cwd=ROOT)
    took = time.perf_counter() - start
    assert out.returncode == 0
    assert out.stdout.strip()[0].isdigit()
    assert took < 1.5, f"--version took {took:.2f} s"


def test_first_token_of_the_bundled_model() -> None:
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", FIRST_TOKEN], capture_output=True, text=True, cwd=ROOT)
    took = time.perf_counter() - start
    assert out.returncode == 0, out.stderr
    assert took < 12, f"first token after {took:.1f} s"


def tree_cpu_seconds(pid: int) -> float:
    root = psutil.Process(pid)
    return sum(sum(p.cpu_times()[:2]) for p in [root, *root.children(recursive=True)])


def test_idle_server_is_quiet(tmp_path: Path) -> None:
    with run_server(log=tmp_path / "log") as server:
        time.sleep(2)
        before = tree_cpu_seconds(server.process.pid)
        time.sleep(6)
        used = tree_cpu_seconds(server.process.pid) - before
    assert used / 6 < 0.03, f"idle server used {used / 6:.1%} of a core"


def test_port_is_released_and_exit_code_is_zero(tmp_path: Path) -> None:
    with run_server(log=tmp_path / "log") as server:
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert children, "the engine core should be its own process"
    assert server.process.returncode == 0
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]


def test_taken_port_is_one_sentence(server: RunningServer) -> None:
    port = server.url.rsplit(":", 1)[1]
    out = subprocess.run(
        [sys.executable, "-m", "penstock", "serve", "--host", "127.0.0.1", "--port", port],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ,
        timeout=60,
    )
    assert out.returncode == 1
    assert port in out.stderr
    assert "Traceback" not in out.stderr
