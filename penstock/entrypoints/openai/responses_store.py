"""ResponseStore: responses that can be asked for later, in the memory of this process.

Bounded in count and bytes: the oldest finished ones go first, running ones stay. With several API keys, a response is
there for the key that made it only.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from penstock.errors import ClientError, NotFoundError, OverloadedError

Json = dict[str, Any]

MAX_RESPONSES = 4096
MAX_BYTES = 256 << 20
MAX_INPUT_BYTES = 16 << 20  # of one response that is kept, with all that came before

_decode = msgspec.json.Decoder().decode


class StoredResponse:
    """A response, its input, and the events of its stream if it runs in the background.

    Args:
        response_id: its id. tenant: whose it is; None if there is one API key or none.
        items: all that it was made from, as a JSON array: the items of earlier responses too.
        current: gives the response as it is now, as JSON, while it is not finished.
        background: made with `background`. streamed: and with `stream`.
    """

    def __init__(
        self,
        response_id: str,
        tenant: str | None,
        items: bytes,
        current: Callable[[], bytes],
        *,
        background: bool,
        streamed: bool,
    ):
        self.response_id = response_id
        self.tenant = tenant
        self.items = items
        self.background = background
        self.streamed = streamed
        self.finished = False
        self._current: Callable[[], bytes] | None = current
        self._response = b""
        self._task: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._events: list[bytes] = []
        self._changed = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.items) + len(self._response) + sum(map(len, self._events))

    @property
    def response(self) -> bytes:
        """As it is now, as JSON."""
        return self._response if self._current is None else self._current()

    def output(self) -> list[Json]:
        """Its output items."""
        return list(_decode(self.response)["output"])

    def input(self) -> list[Json]:
        """Its input items."""
        return list(_decode(self.items))

    def add(self, events: list[bytes]) -> None:
        """More of its stream; the place of an event is its sequence number."""
        self._events += events
        self._wake()

    def finish(self) -> None:
        """It will not change any more."""
        self._response = self.response
        self._current = None
        self.finished = True
        self._wake()

    def make(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` make it, in a task of its own."""

        async def run() -> None:
            self._started.set()
            await work

        self._task = asyncio.create_task(run())

    async def cancel(self) -> None:
        """Stop making it; returns when it has stopped."""
        if self._task is not None and not self.finished:
            await self._started.wait()  # a task that has not begun would not clean up
            self._task.cancel()
            await asyncio.wait([self._task])

    async def events(self, start: int) -> AsyncIterator[bytes]:
        """The events from number `start` on, until it is finished."""
        while True:
            changed, finished = self._changed, self.finished
            if start < len(self._events):
                new = self._events[start:]
                start = len(self._events)
                yield b"".join(new)
            elif finished:
                return
            else:
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class ResponseStore:
    """Responses by id.

    Args:
        max_responses, max_bytes: what is kept at most.
    """

    def __init__(self, max_responses: int = MAX_RESPONSES, max_bytes: int = MAX_BYTES):
        self._max_responses = max_responses
        self._max_bytes = max_bytes
        self._running: dict[str, StoredResponse] = {}
        self._finished: OrderedDict[str, tuple[StoredResponse, int]] = OrderedDict()
        self._bytes = 0

    def check_room(self) -> None:
        """Raise OverloadedError if there is no room for another running response."""
        if len(self._running) >= self._max_responses:
            raise OverloadedError("Too many responses run in the background. Try again later.")

    def add_running(self, stored: StoredResponse) -> None:
        """Keep a response that is being made."""
        self._running[stored.response_id] = stored

    def settle(self, stored: StoredResponse) -> None:
        """A running response has finished; it is kept, unless it was deleted before."""
        if self._running.pop(stored.response_id, None) is not None:
            self.keep(stored)

    def keep(self, stored: StoredResponse) -> None:
        """Keep a finished response; older ones make room."""
        size = stored.size
        if size > self._max_bytes:
            return
        self._finished[stored.response_id] = (stored, size)
        self._bytes += size
        while self._bytes > self._max_bytes or len(self._finished) > self._max_responses:
            _, (_, freed) = self._finished.popitem(last=False)
            self._bytes -= freed

    def get(self, response_id: str, tenant: str | None, param: str | None = None) -> StoredResponse:
        """
        Args:
            param: the field of the request that names it.

        Raises:
            NotFoundError: there is none, not any more, or it is another key's.
        """
        stored = self._running.get(response_id)
        if stored is None and response_id in self._finished:
            stored = self._finished[response_id][0]
        if stored is None or stored.tenant != tenant:
            raise NotFoundError(f"Response with id '{response_id[:80]}' not found.", param)
        return stored

    def delete(self, stored: StoredResponse) -> None:
        """Forget it."""
        self._running.pop(stored.response_id, None)
        entry = self._finished.pop(stored.response_id, None)
        if entry is not None:
            self._bytes -= entry[1]

    def finder(self, tenant: str | None) -> Callable[[str], Json]:
        """A function that finds items of finished responses by their ids, for one request; an id says whose it is.

        It raises NotFoundError if there is no such item, and ClientError if it was found before: what is short as a
        reference must not be repeated into a text without bounds.
        """
        known: dict[str, dict[str, Json]] = {}
        found: set[str] = set()

        def find(item_id: str) -> Json:
            if item_id in found:
                raise ClientError(f"Item with id '{item_id[:80]}' is referenced twice.", "input")
            found.add(item_id)
            response_id = "resp_" + "".join(item_id.split("_")[1:2])
            if response_id not in known:
                stored, _ = self._finished.get(response_id, (None, 0))
                mine = stored is not None and stored.tenant == tenant
                items = stored.input() + stored.output() if mine and stored is not None else []
                known[response_id] = {str(item.get("id")): item for item in items}
            if item_id not in known[response_id]:
                raise NotFoundError(f"Item with id '{item_id[:80]}' not found.", "input")
            return known[response_id][item_id]

        return find
