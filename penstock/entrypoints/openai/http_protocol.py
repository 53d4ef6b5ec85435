"""uvicorn's HTTP/1.1 protocol with bounds on the size and the time of headers, and JSON for requests it cannot read."""

from __future__ import annotations

import asyncio
import http
from typing import cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penstock.entrypoints.openai.answers import ErrorAnswer, ErrorObject
from penstock.entrypoints.openai.wire import WIRE, Wire, leaves_bodies_alone

MAX_HEADER_BYTES = 64 << 10
HEADER_TIMEOUT_S = 30.0
LINGER_S = 2.0  # how long what a refused client is still sending is read and dropped


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._header_bytes = 0  # received of headers that are not complete
        self._too_large = self._refused = False
        self._wired = leaves_bodies_alone(self.config.app)
        self._timer: asyncio.TimerHandle | None = self.loop.call_later(HEADER_TIMEOUT_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._timer is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES and not self._refused:
                self._too_large = True
                self.send_400_response("The headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._timer is None:
            self._timer = self.loop.call_later(HEADER_TIMEOUT_S, self.transport.close)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        if len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > MAX_HEADER_BYTES:
            self._too_large = True
            raise ValueError("headers too large")  # the parser stops, and `send_400_response` is called
        super().on_headers_complete()
        if self._wired:
            cast(dict[str, object], self.scope)[WIRE] = Wire(self.cycle)

    def send_400_response(self, msg: str) -> None:
        """Answer a request that never became one, and close.

        Closing a socket with bytes unread resets the connection, and the client would lose the answer: so the
        client is told that nothing more comes, and has `LINGER_S` to finish.
        """
        self._refused = True
        status, kind = (431, "RequestHeaderFieldsTooLargeError") if self._too_large else (400, "Bad Request")
        message = f"The headers may have at most {MAX_HEADER_BYTES} bytes." if self._too_large else msg
        body = msgspec.json.encode(ErrorAnswer(ErrorObject(message, kind, None, status)))
        head = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if self.transport.can_write_eof() and (self.cycle is None or self.cycle.response_complete):
            self.transport.write_eof()
            self._stop_timer()
            self._timer = self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _stop_timer(self) -> None:
        self._header_bytes = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
