"""EventStream by itself: who counts as a reader that stopped, and which way told events take."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.entrypoints.openai.sse import DONE, EventStream
from penstock.entrypoints.openai.wire import WIRE, Wire


class Timers(selectors.DefaultSelector):
    """Waits for nothing: its clock jumps to the next timer of its loop, so that no test depends on the machine's."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._timers = Timers()
        super().__init__(self._timers)

    def time(self) -> float:
        return self._timers.now


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(coroutine)


def test_silence_before_a_slow_send_is_not_a_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.entrypoints.openai.sse.STALL_S", 0.6)
    sent: list[bytes] = []

    async def events() -> AsyncIterator[bytes]:
        await asyncio.sleep(1.05)
        yield b"data: late\n\n"

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(0.3)  # over the second look, at 1.2
            sent.append(message["body"])

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    run(EventStream(events(), lambda: None, keep_alive_s=0.0)({"type": "http"}, receive, send))
    assert sent == [b"data: late\n\n", DONE]


class Source:
    """Numbered events; a test says when there are more."""

    over = False

    def __init__(self) -> None:
        self.new: list[int] = []
        self.fails = False

    def listen(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def say(self, *numbers: int) -> None:
        self.new += numbers
        self.wake()

    def take(self) -> bytes:
        if self.fails:
            raise ValueError("broken on purpose")
        new, self.new = self.new, []
        self.over = self.over or 0 in new
        return b"".join(b"data: %d\n\n" % n for n in new)


@pytest.mark.parametrize("fails", [False, True])
def test_told_events_wait_for_a_slow_reader_and_keep_their_order(fails: bool) -> None:
    sent: list[bytes] = []
    flow = SimpleNamespace(write_paused=False)
    transport = SimpleNamespace(write=lambda data: sent.append(b"wire " + data.split(b"\r\n")[1]))
    cycle = SimpleNamespace(flow=flow, transport=transport, disconnected=False, chunked_encoding=True)
    closed: list[bool] = []

    async def send(message: dict[str, Any]) -> None:
        while flow.write_paused:
            await asyncio.sleep(0.001)
        sent.append(message.get("body", b"start"))

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def main() -> None:
        source = Source()
        stream = EventStream(source, lambda: closed.append(True))
        answer = asyncio.ensure_future(stream({"type": "http", WIRE: Wire(cycle)}, receive, send))
        await asyncio.sleep(0.01)
        source.say(1)
        await asyncio.sleep(0.01)
        source.say(2)
        flow.write_paused = True
        for n in (3, 4, 5):  # the first of them is held up on its way, the others are with the source
            source.say(n)
            await asyncio.sleep(0.01)
        assert source.new == [4, 5]
        flow.write_paused = False
        await asyncio.sleep(0.01)
        source.say(6)
        source.fails = fails
        source.say(7, 0)
        await answer

    run(main())
    events = [b"data: 1\n\n", b"wire data: 2\n\n", b"data: 3\n\n", b"data: 4\n\ndata: 5\n\n", b"wire data: 6\n\n"]
    assert sent[:6] == [b"start", *events]
    assert sent[6].endswith(DONE)
    assert (b"broken" in sent[6]) is False  # inner errors are logged, not told
    assert sent[6].startswith(b'data: {"error"' if fails else b"data: 7\n\ndata: 0\n\n")
    assert closed == [True]
