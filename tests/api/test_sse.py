"""EventStream by itself: who counts as a reader that stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock.entrypoints.openai.sse import DONE, EventStream


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

    asyncio.run(EventStream(events(), lambda: None, keep_alive_s=0.0)({"type": "http"}, receive, send))
    assert sent == [b"data: late\n\n", DONE]
