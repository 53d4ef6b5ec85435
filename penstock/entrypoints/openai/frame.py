"""Frame: ASGI middleware around every request: its id in the headers of the answer, and HTTP metrics."""

from __future__ import annotations

import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.entrypoints.openai.paths import UNCOUNTED, speaks_anthropic
from penstock.entrypoints.openai.wire import WIRE
from penstock.observability.http_stats import HttpStats

ROUTE = "penstock.route"  # scope key: the template of the route that handles the request
REQUEST_ID = "penstock.request_id"  # scope key: the id that the client gave, or a new one
MAX_ID_BYTES = 256


class Frame:
    """Counts requests and names them.

    Args:
        stats: what is counted goes here.
        always_send_id: send an X-Request-Id even if the client sent none.
    """

    leaves_bodies_alone = True

    def __init__(self, app: ASGIApp, stats: HttpStats, always_send_id: bool):
        self._app = app
        self._stats = stats
        self._always_send_id = always_send_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id, size = _headers(scope)
        names = [b"x-request-id"] if request_id is not None or self._always_send_id else []
        if speaks_anthropic(scope):
            names.append(b"request-id")
        request_id = request_id or uuid.uuid4().hex.encode()
        scope[REQUEST_ID] = request_id.decode()
        id_headers = [(name, request_id) for name in names]
        status = 500
        sent = 0

        async def counting_send(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.body":
                sent += len(message.get("body", b""))
            elif message["type"] == "http.response.start":
                status = message["status"]
                if id_headers:
                    message["headers"] = [*message.get("headers", ()), *id_headers]
            await send(message)

        try:
            await self._app(scope, receive, counting_send)
        finally:
            route, wire = scope.get(ROUTE, "none"), scope.get(WIRE)
            if wire is not None:
                sent += wire.sent
            if route not in UNCOUNTED:
                self._stats.record(route, scope["method"], status, time.perf_counter() - began, size, sent)


def _headers(scope: Scope) -> tuple[bytes | None, int]:
    """The client's request id, and the size of its body as announced."""
    request_id, size = None, 0
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= MAX_ID_BYTES and value.isascii():
            request_id = value
        elif name == b"content-length" and value.isdigit() and len(value) < 16:
            size = int(value)
    return request_id, size
