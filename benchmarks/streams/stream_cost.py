"""What a streamed token costs the front: CPU time of an API server whose core replays texts, divided by the tokens.

    ./scripts/bench streams [--streams 64] [--rounds 5]

The kinds take turns; a kind's figure is the median of its rounds. Everything of the front is real: HTTP, templates,
tokenizing, detokenizing, parsing, events; only the process of the core and the socket to it are missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import time
from pathlib import Path
from typing import Any

PROSE = "The library opens at nine on weekdays, and on Saturdays the reading room stays open until late. " * 10
FILE = json.dumps({"path": "notes/library.txt", "text": PROSE})
ARGUMENTS = {"type": "object", "properties": {"path": {"type": "string"}, "text": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "write_file", "parameters": ARGUMENTS}}
TEXTS = {
    "alpha": PROSE,
    "beta": f'<tool_call>\n{{"name": "write_file", "arguments": {FILE}}}\n</tool_call>',
    "gamma": f"<think>\n{PROSE}\n</think>\n\nSo be it.",
}
# Route -> the member of its body that holds the conversation, and what its stream ends with.
ROUTES = {
    "completions": ("prompt", b"data: [DONE]"),
    "chat/completions": ("messages", b"data: [DONE]"),
    "responses": ("input", b"response.incomplete"),
    "messages": ("messages", b"event: message_stop"),
}
ANTHROPIC = {"model": "penstock-tiny", "max_tokens": 4000}
THINKS = {"chat_template_kwargs": {"enable_thinking": True}}
# Kind -> the route, what the prompt says (a key of TEXTS), and further fields.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plain": ("chat/completions", "alpha", {}),
    "completions": ("completions", "alpha", {"max_tokens": 4000}),
    "tools, prose": ("chat/completions", "alpha", {"tools": [TOOL]}),
    "tools, a call": ("chat/completions", "beta", {"tools": [TOOL]}),
    "reasoning": ("chat/completions", "gamma", THINKS),
    "token ids": ("chat/completions", "alpha", {"return_token_ids": True}),
    "responses": ("responses", "alpha", {}),
    "responses, a call": ("responses", "beta", {"tools": [{"type": "function", **TOOL["function"]}]}),
    "responses, reasoning": ("responses", "gamma", THINKS),
    "messages": ("messages", "alpha", ANTHROPIC),
    "messages, a call": (
        "messages",
        "beta",
        {**ANTHROPIC, "tools": [{"name": "write_file", "input_schema": ARGUMENTS}]},
    ),
}
THINKING = {"reasoning", "responses, reasoning"}  # on a server with a reasoning parser
STEP_S = 0.01


def serve(port: int, reasoning: bool) -> None:
    """The server's process."""
    import uvloop
    from replay_engine import ReplayEngine

    from penstock.config.sections import ServerArgs
    from penstock.entrypoints.openai.app import build_app
    from penstock.entrypoints.openai.front import Front
    from penstock.entrypoints.openai.http_server import HttpServer, uvicorn_settings
    from penstock.entrypoints.openai.sockets import bind
    from penstock.observability.stats import StatsRecorder

    async def main() -> None:
        stats = StatsRecorder()
        args = ServerArgs(disable_uvicorn_access_log=True, uvicorn_log_level="warning", enable_reasoning=reasoning)
        app = build_app(args)
        app.state.front = Front(ReplayEngine(TEXTS, STEP_S, stats), args, stats)
        await HttpServer(uvicorn_settings(app, args), lambda: False).serve(sockets=[bind("127.0.0.1", port)])

    uvloop.run(main())


async def stream(port: int, kind: str) -> int:
    """One request; how many events came."""
    route, key, fields = KINDS[kind]
    words, end = ROUTES[route]
    said = key if words == "prompt" else [{"role": "user", "content": key}]
    body = json.dumps({words: said, "stream": True, **fields}).encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            await asyncio.sleep(0.1)
    writer.write(
        b"POST /v1/%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % (route.encode(), len(body)) + body
    )
    answer = await reader.read(-1)
    writer.close()
    assert end in answer, answer[-500:]
    return answer.count(b"data: ")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(port: int, pid: int, kind: str, streams: int) -> tuple[float, float]:
    """Microseconds of CPU for each token, and events for each token."""
    await stream(port, kind)
    before = cpu_seconds(pid)
    events = await asyncio.gather(*(stream(port, kind) for _ in range(streams)))
    spent = cpu_seconds(pid) - before
    return 1e6 * spent / (streams * tokens_of(kind)), sum(events) / (streams * tokens_of(kind))


def tokens_of(kind: str) -> int:
    from penstock.tokenizers.tokenizer import Tokenizer

    folder = Path(__file__).resolve().parents[2] / "penstock" / "assets" / "tiny"
    return len(Tokenizer.from_folder(folder).encode(TEXTS[KINDS[kind][1]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--port", type=int, default=18231)
    options = parser.parse_args()
    servers = [
        multiprocessing.get_context("spawn").Process(target=serve, args=(options.port + i, bool(i)), daemon=True)
        for i in range(2)
    ]
    for server in servers:
        server.start()
    costs: dict[str, list[float]] = {kind: [] for kind in KINDS}
    share: dict[str, float] = {}
    began = time.monotonic()
    for _ in range(options.rounds):
        for kind in KINDS:
            place = int(kind in THINKING)
            pid = servers[place].pid
            assert pid is not None
            cost, share[kind] = asyncio.run(measure(options.port + place, pid, kind, options.streams))
            costs[kind].append(cost)
    for server in servers:
        server.terminate()
    plain = statistics.median(costs["plain"])
    print(f"{options.streams} streams, {options.rounds} rounds, {time.monotonic() - began:.0f} s")
    for kind, values in costs.items():
        cost = statistics.median(values)
        print(
            f"{kind:20} {cost:6.1f} us/token  {1e6 / cost:8.0f} tokens/s and core  {cost / plain:5.2f} x plain"
            f"  {share[kind]:.2f} events/token  ({min(values):.1f} .. {max(values):.1f})"
        )


if __name__ == "__main__":
    main()
