"""`penstock chat` and `penstock complete` against a server with the bundled model."""

from __future__ import annotations

import subprocess
import sys

from servers import ROOT, RunningServer


def ask(server: RunningServer, *args: str, stdin: str = "") -> list[str]:
    command = [sys.executable, "-m", "penstock", *args, "--url", server.openai_url]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_chat(server: RunningServer) -> None:
    lines = ask(server, "chat", "-q", "What is Penstock?", "--system-prompt", "Be brief.", "--stats")
    assert lines[0] == "Using model: penstock-tiny"
    assert any(line.strip() for line in lines[1:-2])
    assert lines[-2].startswith("TTFT: ")
    tokens = int(lines[-1].partition("(")[2].split()[0])
    assert tokens > 0


def test_a_conversation(server: RunningServer) -> None:
    lines = ask(server, "chat", stdin="Hello\nWhat is 2 plus 2?\n")
    assert lines[1] == "Please enter a message for the chat model:"
    assert sum(line.startswith("> ") for line in lines) >= 2


def test_complete(server: RunningServer) -> None:
    lines = ask(server, "complete", "-q", "Penstock is", "--max-tokens", "8", "--stats")
    assert lines[0] == "Using model: penstock-tiny"
    tokens = int(lines[-1].partition("(")[2].split()[0])
    assert 0 < tokens <= 8


def test_a_url_without_v1_gets_a_hint(server: RunningServer) -> None:
    command = [sys.executable, "-m", "penstock", "chat", "-q", "hi", "--url", server.url]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert result.returncode == 1
    assert "404" in result.stderr
    assert "ends in /v1" in result.stderr
