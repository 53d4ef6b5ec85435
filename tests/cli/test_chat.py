"""`penstock chat` and `penstock complete` as processes, against a server that says what the test wants."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from stub_server import events, stub_server

from servers import ROOT, free_port

PROMPT = rb"\x1b\[0m>\x08"  # as prompt_toolkit draws it once the terminal is ready for keys


def penstock(*args: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "penstock", *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
    )


def chat_events(*deltas: dict[str, Any], tokens: int = 3) -> Iterator[str]:
    choices = [{"choices": [{"index": 0, "delta": d}]} for d in deltas]
    return events(*choices, {"choices": [], "usage": {"completion_tokens": tokens}}, "data: [DONE]\n\n")


def test_quick_chat_prints_the_answer() -> None:
    with stub_server(lambda path, body: chat_events({"role": "assistant"}, {"content": "He"}, {"content": "llo"})) as s:
        result = penstock("chat", "--url", s.url + "/v1", "-q", "hi", "--system-prompt", "be kind", "--api-key", "k1")
    assert (result.returncode, result.stdout) == (0, "Using model: stub\nHello\n")
    path, body = s.bodies[0]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    assert body["model"] == "stub"
    assert all(h["authorization"] == "Bearer k1" for h in s.headers)


def test_the_key_comes_from_the_environment() -> None:
    with stub_server(lambda path, body: chat_events({"content": "x"})) as s:
        penstock("chat", "--url", s.url + "/v1", "-q", "hi", env={"OPENAI_API_KEY": "from-env"})
        penstock("chat", "--url", s.url + "/v1", "-q", "hi", env={"OPENAI_API_KEY": ""})
    assert [h["authorization"] for h in s.headers] == ["Bearer from-env"] * 2 + ["Bearer EMPTY"] * 2


def test_chat_remembers_the_conversation() -> None:
    def reply(path: str, body: dict[str, Any]) -> Iterator[str]:
        return chat_events({"content": f"answer {len(body['messages'])}"})

    with stub_server(reply) as s:
        result = penstock("chat", "--url", s.url + "/v1", "--model-name", "m", stdin="one\n\ntwo\n")
    assert result.returncode == 0
    assert "Please enter a message for the chat model:\n> answer 1\n> > answer 3\n" in result.stdout
    assert [m["content"] for m in s.bodies[1][1]["messages"]] == ["one", "answer 1", "two"]


def test_reasoning_stands_between_tags_and_not_in_the_history() -> None:
    deltas = ({"reasoning": "hm, "}, {"reasoning_content": "well"}, {"content": "yes"})
    with stub_server(lambda path, body: chat_events(*deltas)) as s:
        result = penstock("chat", "--url", s.url + "/v1", stdin="a\nb\n")
    assert "<think>hm, well</think>yes\n" in result.stdout
    assert s.bodies[1][1]["messages"][1]["content"] == "yes"


def test_stats() -> None:
    with stub_server(lambda path, body: chat_events({"content": "x"}, tokens=7)) as s:
        result = penstock("chat", "--url", s.url + "/v1", "-q", "hi", "--stats")
    assert re.search(r"^TTFT: \d+\.\d\d ms$", result.stdout, re.M)
    assert re.search(r"^TPS: \d+\.\d\d tokens/s \(7 tokens in \d+\.\d\d s\)$", result.stdout, re.M)


def test_complete() -> None:
    pieces = [{"choices": [{"index": 0, "text": t}]} for t in ("once", " more")]
    with stub_server(lambda path, body: events(": keep-alive\n\n", *pieces, "data: [DONE]\n\n")) as s:
        quick = penstock("complete", "--url", s.url + "/v1", "-q", "say it", "--max-tokens", "5")
        typed = penstock("complete", "--url", s.url + "/v1", stdin="say it\n")
    assert (quick.returncode, quick.stdout) == (0, "Using model: stub\nonce more\n")
    assert "Please enter prompt to complete:\n> once more\n" in typed.stdout
    (path, first), (_, second) = s.bodies
    assert path == "/v1/completions"
    assert (first["prompt"], first["max_tokens"]) == ("say it", 5)
    assert "max_tokens" not in second


def test_no_server_is_one_sentence() -> None:
    result = penstock("chat", "--url", f"http://127.0.0.1:{free_port()}/v1", "-q", "hi")
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(r"penstock chat: error: no server answers at [^\n]*`penstock serve`[^\n]*\n", result.stderr)


def test_what_is_not_a_url_is_one_sentence() -> None:
    for url in ("localhost:8000", "http://[::1", "ftp://x/v1"):
        result = penstock("complete", "--url", url, "-q", "hi")
        assert result.returncode == 1
        assert result.stderr.startswith("penstock complete: error: ")
        assert result.stderr.count("\n") == 1, result.stderr


def test_an_error_status_and_an_error_event_say_what_the_server_said() -> None:
    with stub_server(lambda path, body: (401, {"error": {"message": "bad key"}})) as s:
        result = penstock("chat", "--url", s.url + "/v1", "-q", "hi")
    assert (result.returncode, result.stderr) == (1, "penstock chat: error: the server answered 401: bad key\n")
    with stub_server(lambda path, body: events({"error": {"message": "engine died"}}, "data: [DONE]\n\n")) as s:
        result = penstock("chat", "--url", s.url + "/v1", "-q", "hi")
        talk = penstock("chat", "--url", s.url + "/v1", stdin="a\nb\n")
    assert result.returncode == 1
    assert "engine died" in result.stderr
    assert talk.returncode == 0  # a failed message does not end the conversation
    assert talk.stderr.count("engine died") == 2


def test_interrupt_leaves_with_status_0() -> None:
    with stub_server(lambda path, body: events(*["data: {}\n\n"] * 1000, pause_s=0.05)) as s:
        command = [sys.executable, "-m", "penstock", "chat", "--url", s.url + "/v1", "-q", "hi"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        deadline = time.monotonic() + 30
        while not s.bodies and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_on_a_terminal_lines_are_edited_and_control_d_leaves() -> None:
    with stub_server(lambda path, body: chat_events({"content": "the answer"})) as s:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "penstock", "chat", "--url", s.url + "/v1"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"},
            start_new_session=True,
        )
        os.close(theirs)
        try:
            read_until(ours, PROMPT)
            os.write(ours, b"hellX\x7fo\r")  # a typing error, corrected
            read_until(ours, rb"the answer(?s:.)*" + PROMPT)
            os.write(ours, b"\x04")
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(ours)
    assert s.bodies[0][1]["messages"][-1]["content"] == "hello"


def read_until(fd: int, wanted: bytes, wait_s: float = 30) -> bytes:
    """What a terminal shows, until it matches `wanted`."""
    seen = b""
    deadline = time.monotonic() + wait_s
    while not re.search(wanted, seen):
        assert select.select([fd], [], [], max(0, deadline - time.monotonic()))[0], seen
        seen += os.read(fd, 1024)
    return seen
