"""The load generator's HTTP client against a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from stub_server import events, stub_server

from penstock.benchmarks.http_client import HTTPClient, HTTPFailure
from penstock.errors import StartError
from servers import free_port

T = TypeVar("T")


def run(url: str, use: Callable[[HTTPClient], Awaitable[T]], headers: dict[str, str] | None = None) -> T:
    async def main() -> T:
        client = HTTPClient(url, headers or {})
        try:
            return await use(client)
        finally:
            client.close()

    return asyncio.run(main())


async def raw_server(*answers: bytes) -> tuple[asyncio.Server, str]:
    """Sends the next answer to every request and closes the connection."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_a_stream_arrives_piece_by_piece() -> None:
    times: list[float] = []
    data: list[bytes] = []

    def note(piece: bytes, now: float) -> None:
        data.append(piece)
        times.append(now)

    with stub_server(lambda path, body: events({"a": 1}, {"b": 2}, pause_s=0.05)) as s:
        answer = run(s.url, lambda c: c.request("POST", "/x?y=1", b'{"q": 1}', {"x-request-id": "r1"}, note))
    assert answer == (200, b"")
    assert b"".join(data) == b'data: {"a": 1}\n\ndata: {"b": 2}\n\n'
    assert 0.03 < times[-1] - times[0] < 5
    assert s.bodies == [("/x?y=1", {"q": 1})]
    assert s.headers[0]["x-request-id"] == "r1"


def test_connections_are_kept_and_shared_headers_sent() -> None:
    async def use(client: HTTPClient) -> list[int]:
        return [(await client.request("POST", "/", b"{}"))[0] for _ in range(5)]

    with stub_server(lambda path, body: (200, {})) as s:
        assert run(s.url, use, {"Authorization": "Bearer k"}) == [200] * 5
    assert s.connections == 1
    assert {h["authorization"] for h in s.headers} == {"Bearer k"}


def test_an_error_status_comes_with_its_body() -> None:
    pieces: list[bytes] = []
    with stub_server(lambda path, body: (429, {"error": "full"})) as s:
        answer = run(s.url, lambda c: c.request("POST", "/", b"{}", None, lambda piece, now: pieces.append(piece)))
    assert answer == (429, b'{"error": "full"}')
    assert pieces == []


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "in the middle"),
        (b"not http at all\r\n\r\n", "not HTTP"),
        (b"", "without an answer"),
    ],
)
def test_a_broken_answer_is_a_failure(answer: bytes, what: str) -> None:
    async def main() -> None:
        server, url = await raw_server(answer)
        async with server:
            with pytest.raises(HTTPFailure, match=what):
                await HTTPClient(url, {}).request("GET", "/")

    asyncio.run(main())


def test_a_connection_that_the_server_gave_up_is_replaced() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"  # announces keep-alive, but the server closes

    async def main() -> None:
        server, url = await raw_server(ok, ok, ok)
        async with server:
            client = HTTPClient(url, {})
            for _ in range(3):
                assert await client.request("GET", "/") == (200, b"ok")
            client.close()

    asyncio.run(main())


def test_no_server_is_a_failure_and_no_url_an_error() -> None:
    with pytest.raises(HTTPFailure, match="cannot connect"):
        run(f"http://127.0.0.1:{free_port()}", lambda c: c.request("GET", "/"))
    with pytest.raises(StartError, match="not an http"):
        HTTPClient("localhost:8000", {})
