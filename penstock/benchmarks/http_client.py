"""A light HTTP/1.1 client for load: one POST per call, kept-alive connections, body pieces with the time they came.

The load generator often shares the machine with the server, so its own cost is part of what it measures. Knows no
OpenAI: `backends.py` does. No redirects, no proxies, no compression.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from penstock.errors import StartError


class HTTPFailure(Exception):
    """The exchange broke: no connection, or it ended in the middle of an answer."""


class HTTPClient:
    """Connections to one server.

    Args:
        base_url: http(s)://host:port; a path in it is put before every request's path.
        headers: sent with every request.
        verify: whether an https server must show a valid certificate.

    Raises:
        StartError: `base_url` is not an http(s) URL.
    """

    def __init__(self, base_url: str, headers: dict[str, str], verify: bool = True):
        url = urlsplit(base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise StartError(f"{base_url!r} is not an http:// or https:// URL")
        self._host, self._prefix = url.hostname, url.path.rstrip("/")
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls: ssl.SSLContext | None = None
        if url.scheme == "https":
            self._tls = ssl.create_default_context()
            if not verify:
                self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        lines = [f"Host: {url.netloc.rpartition('@')[2]}", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._common = "\r\n".join(lines)
        self._idle: list[_Connection] = []

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        on_data: Callable[[bytes, float], None] | None = None,
    ) -> tuple[int, bytes]:
        """Send one request and wait for its end. Returns (status, body).

        Args:
            on_data: called with each piece of a 200 answer's body and its `time.perf_counter()`; the returned body is
                then empty.

        Raises:
            HTTPFailure: see the class.
        """
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._common}\r\n{more}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        data = head.encode("latin-1") + body
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                try:
                    return await self._exchange(connection, data, on_data)
                except _ClosedBeforeAnswer:
                    continue  # the server had given up the idle connection: try the next, or a new one
        try:
            return await self._exchange(await self._connect(), data, on_data)
        except _ClosedBeforeAnswer as e:
            raise HTTPFailure("the server closed the connection without an answer") from e

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        except OSError as e:
            raise HTTPFailure(f"cannot connect to {self._host}:{self._port}: {e}") from e
        return protocol

    async def _exchange(
        self, connection: _Connection, data: bytes, on_data: Callable[[bytes, float], None] | None
    ) -> tuple[int, bytes]:
        try:
            answer = await connection.send(data, on_data)
        except BaseException:  # a cancelled task, too, leaves half an answer on the wire
            connection.close()
            raise
        if connection.usable:
            self._idle.append(connection)
        return answer


class _ClosedBeforeAnswer(HTTPFailure):
    """The connection closed before a byte of the answer came."""


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; the httptools parser calls the on_* methods."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[tuple[int, bytes]] | None = None
        self._parser: Any = None
        self._started = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, data: bytes, on_data: Callable[[bytes, float], None] | None) -> tuple[int, bytes]:
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._started, self._body, self._on_data, self._now = False, bytearray(), on_data, 0.0
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return await self._done

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._done is None or self._done.done():
            self.close()  # bytes that nobody asked for
            return
        self._now, self._started = time.perf_counter(), True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as e:
            self._fail(HTTPFailure(f"the server sent what is not HTTP: {e}"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._started:
            self._fail(HTTPFailure("the server closed the connection in the middle of an answer"))
        else:
            self._fail(_ClosedBeforeAnswer("the server closed the connection"))

    def _fail(self, error: HTTPFailure) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    # --- httptools

    def on_body(self, data: bytes) -> None:
        if self._on_data is not None and self._parser.get_status_code() == 200:
            self._on_data(data, self._now)
        else:
            self._body += data

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # 100 Continue: the answer is still to come
            return
        if not self._parser.should_keep_alive():
            self.close()
        if self._done is not None and not self._done.done():
            self._done.set_result((status, bytes(self._body)))
