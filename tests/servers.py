"""A real `penstock serve` process for tests, started and stopped as a user would."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class RunningServer:
    """A `penstock serve` process that answers."""

    url: str  # http://127.0.0.1:PORT
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def openai_url(self) -> str:
        return self.url + "/v1"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def run_server(*args: str, log: Path, env: dict[str, str] | None = None, wait_s: float = 60) -> Iterator[RunningServer]:
    """`penstock serve *args` on a free port of the loopback; stopped by SIGTERM at the end, and that must work."""
    port = free_port()
    command = [sys.executable, "-m", "penstock", "serve", *args, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, **(env or {})}
        )
    server = RunningServer(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_healthy(server, wait_s)
        yield server
    finally:
        stop(process)


def wait_healthy(server: RunningServer, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            pytest.fail(f"server exited with {server.process.returncode}:\n{server.log.read_text()[-4000:]}")
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(server.url + "/health", timeout=5).status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail(f"server not healthy after {wait_s} s:\n{server.log.read_text()[-4000:]}")


def stop(process: subprocess.Popen[bytes], wait_s: float = 20) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        pytest.fail("the server did not stop after SIGTERM")
