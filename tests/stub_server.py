"""A tiny HTTP server with an OpenAI-shaped stream, for tests of clients: it says what it is told to say."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[[str, dict[str, Any]], Iterator[str] | tuple[int, dict[str, Any]]]


class StubServer:
    """Requests that came, and where to send more.

    Attributes:
        url: http://127.0.0.1:PORT.
        bodies: (path, JSON body) of every POST.
        headers: of every request, names in lower case.
        connections: how many were opened.
    """

    def __init__(self, url: str):
        self.url = url
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0


def events(*payloads: dict[str, Any] | str, pause_s: float = 0.0) -> Iterator[str]:
    """Server-sent events: a JSON object each, or a line as it is."""
    for payload in payloads:
        if pause_s:
            time.sleep(pause_s)
        yield payload if isinstance(payload, str) else f"data: {json.dumps(payload)}\n\n"


@contextlib.contextmanager
def stub_server(reply: Reply, model: str = "stub", root: str | None = None) -> Iterator[StubServer]:
    """Serve `reply(path, body)`: an iterator of stream pieces, or (status, JSON)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            stub.connections += 1
            super().setup()

        def do_GET(self) -> None:
            stub.headers.append({k.lower(): v for k, v in self.headers.items()})
            self._json(200, {"data": [{"id": model, "root": root or model}]})

        def do_POST(self) -> None:
            stub.headers.append({k.lower(): v for k, v in self.headers.items()})
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            stub.bodies.append((self.path, body))
            answer = reply(self.path, body)
            if isinstance(answer, tuple):
                self._json(*answer)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in answer:
                data = piece.encode()
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def _json(self, status: int, value: dict[str, Any]) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes away is nothing to print."""

    httpd = Server(("127.0.0.1", 0), Handler)
    stub = StubServer(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join(5)
