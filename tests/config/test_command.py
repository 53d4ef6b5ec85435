"""The `penstock` command itself: version, help, unknown words, errors."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import penstock
from penstock.entrypoints import cli
from penstock.errors import StartError

ROOT = Path(__file__).resolve().parents[2]


def test_version_is_quick() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "penstock", "--version"], cwd=ROOT, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        assert (done.returncode, done.stdout, done.stderr) == (0, penstock.__version__ + "\n", "")
    assert min(seconds) < 1  # 0.02 s on an idle machine


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in cli.SUBCOMMANDS)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sreve", "unknown command 'sreve'; did you mean serve?"),
        ("--sreve", "unknown option '--sreve'; did you mean serve?"),
        ("zzz", "unknown command 'zzz'; commands: serve, run, chat, complete, bench, collect-env"),
        ("run-batch", "run-batch is not built into this version"),
    ],
)
def test_unknown_words(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == 2
    assert f"penstock: error: {message}" in capsys.readouterr().err


def _fails(argv: list[str]) -> int:
    raise StartError("It cannot start.")


def _interrupted(argv: list[str]) -> int:
    raise KeyboardInterrupt


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.SUBCOMMANDS, "fails", (f"{__name__}:_fails", ""))
    assert cli.main(["fails"]) == 1
    assert capsys.readouterr().err == "penstock fails: error: It cannot start.\n"


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.SUBCOMMANDS, "waits", (f"{__name__}:_interrupted", ""))
    assert cli.main(["waits"]) == 130


def test_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m penstock serve --help=all | head -1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "Model:\n"
    assert done.stderr == ""


def test_every_subcommand_can_be_loaded() -> None:
    for target, _ in cli.SUBCOMMANDS.values():
        assert callable(cli.load_object(target))


def test_collect_env(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PENSTOCK_API_KEY", "sk-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert cli.main(["collect-env"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Collecting environment information...\n")
    titles = "System Info, PyTorch Info, Python Environment, CUDA / GPU Info, CPU Info, Versions of relevant libraries"
    for title in [*titles.split(", "), "Penstock Info", "Environment Variables"]:
        assert title in out
    assert "OMP_NUM_THREADS" in out
    assert penstock.__version__ in out
    assert "sk-secret" not in out
    assert "very-secret" not in out
