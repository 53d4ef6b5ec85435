"""`scripts/bench`: what counts as met, what is derived of the machine, and whole runs with the bundled model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from servers import ROOT

FOLDER = ROOT / "benchmarks" / "cpu"
RATES = {"read": 50e9, "bf16": 500e9, "int8": 1000e9}


@pytest.fixture(scope="module")
def goals() -> ModuleType:
    sys.path.insert(0, str(FOLDER))
    try:
        import goals
    finally:
        sys.path.remove(str(FOLDER))
    return goals


def row(goals: ModuleType, key: str) -> object:
    (found,) = goals.chosen([key])
    return found


def test_ratios_are_of_the_same_round_and_to_the_best_peer(goals: ModuleType) -> None:
    measured = {"penstock-bf16": [20.0, 10.0, 30.0], "vllm-bf16": [9.0, 4.0, 14.0], "openvino-bf16": [10.0, 5.0, 15.0]}
    verdict = goals.judge(row(goals, "W4"), measured, None, None)
    assert (verdict.best_peer, verdict.ratio, verdict.met) == ("openvino-bf16", 2.0, True)
    slower = measured | {"penstock-bf16": [16.9, 8.0, 25.0]}
    assert goals.judge(row(goals, "W4"), slower, None, None).met is False
    assert goals.judge(row(goals, "W4"), {"penstock-bf16": [1.0]}, None, None).met is None


def test_where_less_is_better(goals: ModuleType) -> None:
    measured = {"penstock-bf16": [4.0], "vllm-bf16": [5.0], "llamacpp-bf16": [9.0]}
    verdict = goals.judge(row(goals, "W6"), measured, None, None)
    assert (verdict.best_peer, verdict.ratio, verdict.met) == ("vllm-bf16", 0.8, True)
    assert goals.judge(row(goals, "W8"), {"penstock-bf16": [2.6]}, None, None).met is False
    assert goals.judge(row(goals, "memory"), {"penstock-serve": [999.0]}, None, 1000.0).met is True


def test_a_share_of_the_limit_is_part_of_a_goal(goals: ModuleType) -> None:
    limit = goals.judge(row(goals, "W2"), {"penstock-bf16": [1.0], "vllm-bf16": [1.0]}, RATES, None).limit
    for share, met in ((0.93, True), (0.91, False)):
        measured = {"penstock-bf16": [share * limit], "vllm-bf16": [0.5 * limit]}
        assert goals.judge(row(goals, "W2"), measured, RATES, None).met is met


def test_limits_are_bytes_and_operations(goals: ModuleType) -> None:
    limit = goals.ceilings.limit
    weights = 28 * (1024 * 4096 + 2048 * 1024 + 3 * 1024 * 3072) + 151_936 * 1024
    decode = limit("W2", "bf16", RATES)
    assert decode == pytest.approx(50e9 / (2 * weights + 160 * 114_688))
    assert limit("W2", "int8", RATES) > 1.9 * decode
    assert limit("W3", "int8", RATES) > 1.5 * limit("W3", "bf16", RATES)
    assert limit("W7", "bf16", RATES) is None


def test_rows_by_pattern(goals: ModuleType) -> None:
    assert [r.key for r in goals.chosen(["W2*"])] == ["W2", "W2-int8", "W2-int4"]
    assert len({r.key for r in goals.ROWS}) == len(goals.ROWS)
    with pytest.raises(KeyError, match="W9"):
        goals.chosen(["W9"])


def test_a_run(tmp_path: Path) -> None:
    """Our own engine alone, the bundled model, one row: what is missing is said, what is measured is in the table."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(ROOT / "penstock" / "assets" / "tiny")
    env = {**os.environ, "MODELS_DIR": str(tmp_path / "models"), "PEERS_DIR": str(tmp_path / "peers")}
    env |= {"BENCH_PYTHON": sys.executable}
    out = tmp_path / "result"
    command = ["scripts/bench", "cpu", "--rows", "W7", "--rounds", "1", "--threads", "1", "--out", str(out)]
    command += ["--engines", "*-tiny"]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout == out.with_suffix(".md").read_text() + "\n"
    assert "| W7 | tiny model, 256 x 32 in / 64 out (output tok/s) |" in run.stdout
    assert "peers.sh llamacpp" in run.stdout
    records = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
    (value,) = [r["value"] for r in records if r.get("row") == "W7"]
    assert value > 0
    again = subprocess.run(
        ["scripts/bench", "cpu", "--render", str(out.with_suffix(".jsonl"))],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert again.stdout == run.stdout


def test_the_breakdown_of_a_step_adds_up() -> None:
    command = ["scripts/bench", "step", "--threads", "1", "--cases", "decode:3x40,prefill:1x100"]
    env = {**os.environ, "BENCH_PYTHON": sys.executable}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    decode, prefill = run.stdout.split("### ")[1:]
    for text, batch in ((decode, "decode, 3 x 40"), (prefill, "prefill, 1 x 100")):
        assert text.startswith(batch)
        cells = [[c.strip() for c in line.split("|")] for line in text.splitlines() if line.startswith("| ")][1:]
        spent = {c[1]: float(c[3]) for c in cells}
        whole = spent.pop(next(name for name in spent if name.startswith("all of")))
        assert sum(spent.values()) == pytest.approx(whole, abs=0.02)
        assert spent["(the clocks themselves)"] < 0.1 * whole
        assert {"Linear q+k+v", "Linear down", "Linear head", "sampling", "scheduler"} <= set(spent)
