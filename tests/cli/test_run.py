"""`penstock run`: which argument is what, and the command as a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock.entrypoints.run import split_words
from servers import ROOT


def penstock_run(*args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", "run", *args]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_which_argument_is_what(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert split_words(["m", "p"], None) == ("m", "p")
    assert split_words([folder, "p"], None) == (folder, "p")
    assert split_words([folder], None) == (folder, None)
    assert split_words(["owner/name"], None) == ("owner/name", None)
    assert split_words(["penstock-tiny"], None) == ("penstock-tiny", None)
    assert split_words(["What is 1/2?"], None) == (None, "What is 1/2?")
    assert split_words(["hello"], None) == (None, "hello")
    assert split_words(["x" * 10_000], None) == (None, "x" * 10_000)
    assert split_words(["a\0b"], None) == (None, "a\0b")
    assert split_words([], None) == (None, None)
    assert split_words(["owner/name"], "m") == ("m", "owner/name")
    assert split_words([], "m") == ("m", None)
    for words, model in ((["a", "b", "c"], None), (["a", "b"], "m")):
        with pytest.raises(ValueError, match="quotes"):
            split_words(words, model)


def test_an_answer_from_the_bundled_model(bundled_model: Path) -> None:
    greedy = ("--temperature", "0", "--max-tokens", "12")
    bundled = penstock_run("What is Penstock?", *greedy)
    assert bundled.returncode == 0, bundled.stderr
    assert len(bundled.stdout.strip()) > 5
    assert bundled.stdout.endswith("\n")
    named = penstock_run(str(bundled_model), *greedy, stdin="What is Penstock?\n")
    assert named.stdout == bundled.stdout


def test_raw_leaves_the_template_out() -> None:
    raw = penstock_run("--raw", "What is Penstock?", "--temperature", "0", "--max-tokens", "12")
    assert raw.returncode == 0, raw.stderr
    refused = penstock_run("--raw", "hello", "--system-prompt", "be kind", "--load-format", "dummy")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("penstock run: error: --system-prompt needs a chat template")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("a", "b", "c"), 2, "expected [MODEL] PROMPT"),
        (("",), 1, "the prompt is empty"),
        (("./no/such/folder", "hello"), 1, "no folder"),
        (("hello", "--temprature", "1"), 2, "did you mean --temperature"),
        (("hello", "--temperature", "3", "--load-format", "dummy"), 1, "temperature must be in [0, 2]"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(args: tuple[str, ...], code: int, message: str) -> None:
    result = penstock_run(*args)
    assert result.returncode == code
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
