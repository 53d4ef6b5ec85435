"""`scripts/gpu_check` and the GPU benchmark, rehearsed on the CPU: every row runs, and a bad one spoils no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from servers import ROOT

FOLDER = ROOT / "benchmarks" / "gpu"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        import bench_gpu

        yield bench_gpu
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def measured(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every row gives with small models on the CPU, in one process."""
    from rows import ROWS, Setup

    found: dict[str, Any] = {}
    for key in ROWS:
        found[key] = ROWS[key](Setup(True, found, tmp_path_factory.mktemp(key)))
    return found


def test_every_row_is_rehearsed(bench: ModuleType, measured: dict[str, Any]) -> None:
    assert [plan.key for plan in bench.PLANS] == list(measured)
    assert measured["decode_256"]["share"] > 0
    assert 32 <= measured["decode_256"]["context"] < 32 + 320
    assert measured["decode_fp8"]["ratio"] > 0
    assert measured["overhead"]["busy_ms"] > 0
    assert min(measured["start"]["eager_s"], measured["start"]["graphs_s"]) > 0.5
    assert len(measured["attention"]["torch_paged"]) == 4
    for plan in bench.PLANS:
        assert bench.describe(plan, measured[plan.key])


def test_the_command(tmp_path: Path) -> None:
    env = {**os.environ, "OUT": str(tmp_path), "PYTHON": sys.executable}
    command = ["scripts/gpu_check", "--rehearse", "--rows", "ceilings"]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    (row,) = json.loads((tmp_path / "gpu-rehearsal.json").read_text())["rows"]
    assert row["measured"]["bandwidth"] > 0
    page = (tmp_path / "gpu-rehearsal.md").read_text()
    assert page.startswith("A rehearsal")
    assert run.stdout.endswith(page)


def test_a_row_that_hangs_or_fails_spoils_no_other(bench: ModuleType, tmp_path: Path) -> None:
    slow = bench.RowPlan("start", "takes longer than it may", 1.0, needs=())
    unknown = bench.RowPlan("nothing", "there is no such row", 30.0, needs=())
    after = bench.RowPlan("prefill", "lacks what it needs", 30.0)
    said: list[str] = []
    made = bench.Bench(tmp_path / "out", 60.0, True, said.append)
    began = time.monotonic()
    made.run([slow, unknown, after])
    assert time.monotonic() - began < 30
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    for row, words in zip(rows, ("took longer than 1 s", "exit status 1", "needs ceilings"), strict=True):
        assert row["measured"] is None
        assert words in row["failure"]
    assert bench.table(made.results).count("not measured: ") == 2  # the unknown one has no line
    made = bench.Bench(tmp_path / "late", 0.0, True, said.append)
    made.run([slow])
    assert made.results["rows"][0]["failure"] == "no time was left"


def test_floors_and_verdicts(bench: ModuleType) -> None:
    from rows import union
    from shapes import SHAPES

    shape = SHAPES["8b"]
    weights = 36 * (4096 * (2 * 4096 + 2 * 1024) + 3 * 4096 * 12288) + 151936 * 4096
    moved, operations = shape.decode_floors(1, 0, "bf16")
    assert (moved, operations) == (2 * weights, 2 * weights)
    assert shape.decode_floors(256, 1024, "bf16")[0] - moved == 256 * 1024 * 36 * 2 * 8 * 128 * 2
    assert shape.decode_floors(1, 0, "fp8")[0] < 0.6 * moved
    assert union([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.5, 5.7)]) == 4.0
    (plan,) = (p for p in bench.PLANS if p.key == "start")
    row = {"key": "start", "measured": {"seconds": 15.1}, "failure": None}
    results = {"began": "", "commit": "", "rehearsal": False, "rows": [row]}
    assert f"| {plan.title} | 15.10 s | <= 15.00 s | no |  |" in bench.table(results)
