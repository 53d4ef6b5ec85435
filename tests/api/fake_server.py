"""Our server on a fake engine, in a thread of the test process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import uvloop
from api.fake_engine import SENTENCE, FakeEngine

from penstock.config.sections import ServerArgs
from penstock.entrypoints.openai.app import build_app
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.http_server import HttpServer, uvicorn_settings
from penstock.entrypoints.openai.sockets import bind
from penstock.errors import EngineError
from penstock.observability.stats import StatsRecorder


@dataclass
class FakeServer:
    """Our server on a fake engine."""

    url: str
    engine: FakeEngine
    front: Front
    http: httpx.Client
    loop: asyncio.AbstractEventLoop

    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0)

    def leave_early(self, path: str, body: dict[str, Any]) -> None:
        """Send a request, and hang up as soon as the engine has it: no answer can have ended by then."""
        self.engine.delay_s = 30.0
        data = json.dumps(body).encode()
        fields = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + data)
            deadline = time.monotonic() + 10
            while not self.engine.open:
                assert time.monotonic() < deadline
                time.sleep(0.002)

    def raw(self, data: bytes) -> tuple[bytes, bytes]:
        """The head and the body of the answer to these bytes; both empty if the server hung up without one."""
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as client, client.makefile("rb") as answer:
            client.sendall(data)
            head = list(itertools.takewhile(lambda line: line != b"\r\n", answer))
            length = sum(int(line.split(b":")[1]) for line in head if line.lower().startswith(b"content-length:"))
            return b"".join(head), answer.read(length)

    def reset(self) -> None:
        engine = self.engine
        engine.delay_s, engine.fail_after, engine.ready, engine.errored = 0.0, None, True, False
        engine.failure = EngineError("broken on purpose")
        engine.per_output = 1
        engine.says(SENTENCE)
        self.front.draining = False
        engine.submitted.clear()


@contextlib.contextmanager
def fake_server(args: ServerArgs | None = None) -> Iterator[FakeServer]:
    """A server on a free port of the loopback, with these options."""
    args = args or ServerArgs()
    args.disable_uvicorn_access_log = True
    if args.log_config_file is None:
        args.uvicorn_log_level = "warning"
    sock = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    started: list[tuple[FakeEngine, Front, HttpServer, asyncio.AbstractEventLoop]] = []
    up = threading.Event()

    async def main() -> None:
        engine = FakeEngine()
        app = build_app(args)
        front = Front(engine, args, StatsRecorder())
        app.state.front = front
        server = HttpServer(uvicorn_settings(app, args), lambda: False)
        started.append((engine, front, server, asyncio.get_running_loop()))
        up.set()
        await server.serve(sockets=[sock])

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert up.wait(20)
    engine, front, server, loop = started[0]
    with httpx.Client(base_url=url, timeout=20) as client:
        yield FakeServer(url, engine, front, client, loop)
    loop.call_soon_threadsafe(server.stop)
    thread.join(20)
    assert not thread.is_alive()
