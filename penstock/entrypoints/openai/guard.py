"""Guard: ends the work for a request when its client goes away.

The work runs in the task that enters the guard; a listener on the ASGI `receive` cancels it. Knows no engine: what the
work holds is released by its own `finally` blocks when it is cancelled.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive


class ClientGoneError(Exception):
    """The client closed its connection or does not read; nobody is there to get an answer."""


class Guard:
    """Asynchronous context around the work for one request.

    Args:
        receive: the ASGI channel; the body has been read from it.

    Raises:
        ClientGoneError: on leaving, if the client is gone.
    """

    __slots__ = ("_listener", "_reason", "_receive", "_task")

    def __init__(self, receive: Receive):
        self._receive = receive
        self._reason: Exception | None = None

    async def __aenter__(self) -> Guard:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._listener = asyncio.get_running_loop().create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._listener.cancel()
        if self._reason is not None:
            self._task.uncancel()
            if kind is asyncio.CancelledError:
                raise self._reason from None

    def stop(self, reason: Exception) -> None:
        """Cancel the work; leaving the guard raises `reason`."""
        if self._reason is None:
            self._reason = reason
            self._task.cancel()

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.stop(ClientGoneError())
