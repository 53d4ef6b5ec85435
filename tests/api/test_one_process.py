"""--disable-frontend-multiprocessing: the whole server in one process, with the same answers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from servers import ROOT, RunningServer, run_server

BODY: dict[str, Any] = {"prompt": ["Once", "The sky"], "max_tokens": 12, "seed": 3, "n": 2, "logprobs": 2}


def test_a_start_that_fails_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "penstock", "serve", "--disable-frontend-multiprocessing", "--port", "0"]
    command += ["--host", "127.0.0.1", "--kv-cache-memory-bytes", "1000"]
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == 1
    assert "penstock: " in capfd.readouterr().err.splitlines()[-1]


def test_one_process_answers_as_two(server: RunningServer, tmp_path: Path) -> None:
    with run_server("--disable-frontend-multiprocessing", log=tmp_path / "log") as one:
        assert psutil.Process(one.process.pid).children(recursive=True) == []
        answers = [httpx.post(s.openai_url + "/completions", json=BODY, timeout=60).json() for s in (one, server)]
        assert answers[0]["choices"] == answers[1]["choices"]
        endless = {"prompt": "Once", "max_tokens": 3000, "ignore_eos": True, "stream": True}
        lines: list[str] = []

        def read() -> None:
            with httpx.stream("POST", one.openai_url + "/completions", json=endless, timeout=60) as response:
                for line in response.iter_lines():
                    if line:
                        lines.append(line)

        reader = threading.Thread(target=read)
        reader.start()
        while not lines and reader.is_alive():
            time.sleep(0.01)
        assert httpx.get(one.url + "/health").status_code == 200
        one.process.terminate()
        time.sleep(0.6)
        one.process.terminate()  # a second signal ends what runs
        reader.join(20)
        assert one.process.wait(20) == 0
        assert lines[-1] == "data: [DONE]"
