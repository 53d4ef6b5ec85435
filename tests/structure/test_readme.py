"""README: its commands run as they stand there, and what it points at exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from servers import ROOT, RunningServer

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.S)
SHELL = [code for language, code in BLOCKS if language == "sh"]
PYTHON = [code for language, code in BLOCKS if language == "python"]


def run(command: list[str], timeout_s: float = 120) -> str:
    """Run as a user would who has the virtual environment on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=timeout_s)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def only(blocks: list[str], word: str) -> str:
    found = [code for code in blocks if word in code]
    assert len(found) == 1, f"README should have one block with {word!r}"
    return found[0]


def test_the_two_commands_stand_at_the_top() -> None:
    assert README.index("./scripts/serve") < README.index("./scripts/test") < 250
    for script in ("serve", "test", "check", "venv"):
        assert os.access(ROOT / "scripts" / script, os.X_OK)
    assert "./scripts/test" in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_curl(server: RunningServer) -> None:
    code = only(SHELL, "curl").replace("http://localhost:8000", server.url)
    answer = json.loads(run(["bash", "-euc", code]))
    assert answer["choices"][0]["message"]["content"].strip()


def test_the_official_client(server: RunningServer) -> None:
    code = only(PYTHON, "from openai").replace("http://localhost:8000", server.url)
    assert run([sys.executable, "-c", code]).strip()


def test_chat(server: RunningServer) -> None:
    code = only(SHELL, "penstock chat").replace("penstock", f"{sys.executable} -m penstock", 1)
    answer = run(["bash", "-euc", f"{code.rstrip()} --url {server.openai_url}"])
    assert answer.startswith("Using model: penstock-tiny\n")
    assert len(answer.splitlines()) > 1


def test_offline() -> None:
    lines = run([sys.executable, "-c", only(PYTHON, "import LLM")]).splitlines()
    assert [line.partition(" -> ")[0] for line in lines[:2]] == ["Penstock is", "The capital of France is"]
    assert len(lines) >= 3


def test_run() -> None:
    code = only(SHELL, "penstock run").replace("penstock", f"{sys.executable} -m penstock", 1)
    assert run(["bash", "-euc", code]).strip()


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text)
    missing = [t for t in targets if "://" not in t and not (ROOT / page).parent.joinpath(t).exists()]
    assert missing == []


def test_every_block_is_tested() -> None:
    tested = ("./scripts/serve", "curl", "penstock chat", "penstock run")
    assert [code for code in SHELL if not any(word in code for word in tested)] == []
    assert len(PYTHON) == 2
