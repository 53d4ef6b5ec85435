"""`penstock bench throughput` and `latency` as processes, with the bundled model."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from servers import ROOT


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", "bench", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_throughput(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    lengths = ("--num-prompts", "5", "--input-len", "16", "--output-len", "4", "--n", "2")
    run = bench("throughput", *lengths, "--output-json", str(file), "--max-num-seqs", "4")
    assert run.returncode == 0, run.stderr
    number = r"\d+\.\d\d"
    assert re.search(
        rf"^Throughput: {number} requests/s, {number} total tokens/s, {number} output tokens/s$", run.stdout, re.M
    )
    assert "Total num prompt tokens:  80\nTotal num output tokens:  40\n" in run.stdout
    result = json.loads(file.read_text())
    assert (result["num_requests"], result["total_num_tokens"]) == (5, 120)
    assert set(result) == {
        *("model_id", "elapsed_time", "num_requests", "total_num_tokens", "requests_per_second", "tokens_per_second")
    }


def test_latency(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    size = ("--batch-size", "2", "--input-len", "8", "--output-len", "3")
    run = bench("latency", *size, "--num-iters-warmup", "1", "--num-iters", "4", "--output-json", str(file))
    assert run.returncode == 0, run.stderr
    assert re.search(r"^Avg latency: \d+\.\d+ seconds$", run.stdout, re.M)
    assert re.findall(r"^(\d+)% percentile latency: ", run.stdout, re.M) == ["10", "25", "50", "75", "90", "99"]
    result = json.loads(file.read_text())
    assert len(result["latencies"]) == 4
    assert min(result["latencies"]) <= result["percentiles"]["50"] <= max(result["latencies"])


def test_what_is_not_there_is_refused() -> None:
    assert "supported: vllm, penstock" in bench("throughput", "--backend", "hf").stderr
    assert "--use-beam-search is not supported" in bench("latency", "--use-beam-search").stderr
    unknown = bench("startup")
    assert unknown.returncode == 2
    assert "no benchmark 'startup'" in unknown.stderr
    assert (
        bench("--help").returncode == bench("serve", "--help").returncode == bench("latency", "--help").returncode == 0
    )
