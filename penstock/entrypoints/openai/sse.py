"""Server-sent events: encoded events become a streaming answer.

Events are waited for, or told of and taken. Before the first byte an exception is a plain HTTP error; after it an error
event. A silent stream gets comments; a client that leaves or stops reading ends it. Knows nothing of what events say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from penstock.entrypoints.openai.errors import error_json, error_response
from penstock.entrypoints.openai.guard import ClientGoneError, Guard
from penstock.entrypoints.openai.wire import Wire, wire_of

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
STALL_S = 60.0  # a client that takes nothing for so long is cut off
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # else nginx holds events back
]


class StreamForm(msgspec.Struct, frozen=True):
    """What the streams of an API hold besides the events of an answer.

    Attributes:
        end: sent after the last event.
        silence: sent when nothing else has been sent for a while; clients ignore it.
        error: makes the last events of a stream that fails.
    """

    end: bytes
    silence: bytes
    error: Callable[[BaseException], bytes]


OPENAI = StreamForm(DONE, KEEP_ALIVE, lambda exc: b"data: " + error_json(exc) + b"\n\n" + DONE)


class Told(Protocol):
    """Events whose source tells when there are new ones; they are taken without waiting.

    Attributes:
        over: all have been taken.
    """

    over: bool

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called whenever there may be something to take."""

    def take(self) -> bytes:
        """Whole events that have not been taken; b"" if there are none. Raises what the stream fails with."""
        ...


class EventStream(Response):
    """Answer that sends `events` as they come.

    Events that are told are written as they are told, by whoever tells: the answer's own task sleeps until the end, or
    until the client reads no more.

    Args:
        events: whole events ("data: ...", two line ends), one or several per item.
        close: called once, when the stream is over for whatever reason; it releases what the events come from.
        keep_alive_s: seconds of silence after which `form.silence` is sent; 0 for never.
        form: of the API.
    """

    def __init__(
        self,
        events: AsyncIterator[bytes] | Told,
        close: Callable[[], None],
        keep_alive_s: float = 15.0,
        form: StreamForm = OPENAI,
    ):
        super().__init__()
        self._events = events
        self._close = close
        self._keep_alive_s = keep_alive_s
        self._form = form
        self._started = False
        self._sending_since: float | None = None
        self._last_sent = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None
        self._wire: Wire | None = None
        self._asleep: asyncio.Future[None] | None = None  # what the task waits for that sends told events
        self._rest = b""  # taken, and left to it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._raw_send = send
        self._wire = wire_of(scope)
        self._loop = asyncio.get_running_loop()
        self._last_sent = self._loop.time()
        guard = Guard(receive)
        try:
            async with guard:
                self._arm(guard)
                await self._send_all()
        except ClientGoneError:
            pass
        except Exception as exc:  # the boundary of one request: whatever failed, this client alone is told
            await self._fail(exc, scope, receive, send)
        finally:
            self._close()
            if self._timer is not None:
                self._timer.cancel()
            if self._comment is not None:
                self._comment.cancel()

    async def _send_all(self) -> None:
        events, send = self._events, self._send
        if isinstance(events, AsyncIterator):
            async for chunk in events:
                await send(chunk)
            await send(self._form.end, last=True)
            return
        await self._send_told(events)

    async def _send_told(self, events: Told) -> None:
        events.listen(lambda: self._tell(events))
        while True:
            new, self._rest = self._rest + events.take(), b""
            if events.over:
                return await self._send(new + self._form.end, last=True)
            if new:
                await self._send(new)
                continue
            self._asleep = self._loop.create_future()
            try:
                await self._asleep
            finally:
                self._asleep = None

    def _tell(self, events: Told) -> None:
        """There may be new events. Write them if the task sleeps and nothing keeps them back; else the task does."""
        asleep = self._asleep
        if asleep is None or asleep.done():
            return
        if self._started and self._wire is not None and self._wire.is_open:
            try:
                new = events.take()
            except Exception as e:  # the boundary of one request: its task tells the client
                asleep.set_exception(e)
                return
            if not events.over:
                if new:
                    self._wire.write(new)
                    self._last_sent = self._loop.time()
                return
            self._rest = new
        asleep.set_result(None)

    async def _send(self, data: bytes, last: bool = False) -> None:
        if not self._started:
            self._started = True
            start: Message = {"type": "http.response.start", "status": 200, "headers": list(_HEADERS)}
            await self._raw_send(start)
        self._sending_since = self._loop.time()
        await self._raw_send({"type": "http.response.body", "body": data, "more_body": not last})
        self._sending_since = None
        self._last_sent = self._loop.time()

    async def _fail(self, exc: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._started:
            await error_response(exc, scope)(scope, receive, send)
            return
        await send({"type": "http.response.body", "body": self._form.error(exc), "more_body": False})

    def _arm(self, guard: Guard) -> None:
        """Look after the stream once per keep-alive interval, not once per token."""
        interval = self._keep_alive_s or STALL_S
        self._timer = self._loop.call_later(interval, self._look, guard, interval)

    def _look(self, guard: Guard, interval: float) -> None:
        now = self._loop.time()
        silent_s = now - self._last_sent
        if self._sending_since is not None:
            if now - self._sending_since > STALL_S:
                guard.stop(ClientGoneError())
                return
        elif self._keep_alive_s and silent_s >= interval * 0.99:
            self._comment = self._loop.create_task(self._send(self._form.silence))
            silent_s = 0.0
        wait_s = interval - silent_s if 0.0 <= silent_s < interval else interval
        self._timer = self._loop.call_later(max(wait_s, 0.01), self._look, guard, interval)
