"""RequestStream: the outputs of one open request, for one reader on the event loop.

Its reader waits, or is told and takes; when it leaves, the request ends in the engine. Knows neither the core nor the
other requests; `async_engine` makes one per request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from penstock.engine.request_state import OpenRequest
from penstock.errors import DeadlineError, PenstockError
from penstock.outputs import PoolingRequestOutput, RequestOutput

Output = TypeVar("Output", RequestOutput, PoolingRequestOutput)


class RequestStream(Generic[Output]):
    """The outputs of one request, for one reader: an async iterator, or `listen` and `take`, which never wait.

    Args:
        request: the open request.
        take: its method that gives what is new.
        abort: ends it in the engine, with or without an error for its reader.

    Attributes:
        request_id: the caller's.
        prompt_token_ids: what runs.
    """

    def __init__(
        self,
        request: OpenRequest,
        take: Callable[[], Output | None],
        abort: Callable[[OpenRequest, PenstockError | None], None],
    ):
        self.request_id = request.request_id
        self.prompt_token_ids = request.prompt_token_ids
        self._request = request
        self._take: Callable[[], Output | None] = take
        self._abort = abort
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over = False
        request.on_output = self._wake

    def __aiter__(self) -> RequestStream[Output]:
        return self

    async def __anext__(self) -> Output:
        if self._over:
            raise StopAsyncIteration
        while True:
            output = self.take()
            if output is not None:
                return output
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def listen(self, wake: Callable[[], None]) -> None:
        """Have `wake` called, by the engine itself, whenever `take` may give something new."""
        self._request.on_output = wake

    def take(self) -> Output | None:
        """What is new; None if there is nothing, or after the last output.

        Raises:
            PenstockError: the request failed.
        """
        if self._over:
            return None
        try:
            output = self._take()
        except PenstockError:
            self.close()
            raise
        if output is not None and output.finished:
            self.close()
        return output

    def close(self) -> None:
        """Abort the request in the core if it is still open. Safe to call at any time, twice, and after the end."""
        if self._over:
            return
        self._over = True
        self._request.on_output = None
        if self._timer is not None:
            self._timer.cancel()
        if not self._request.finished:
            self._abort(self._request, None)

    def end_at(self, deadline: float) -> None:
        """Let the request end with a DeadlineError at that `time.monotonic()`."""
        error = DeadlineError("The request's deadline passed before it was answered.")
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(deadline - time.monotonic(), self._abort, self._request, error)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
