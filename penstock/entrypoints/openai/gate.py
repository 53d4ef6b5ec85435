"""Gate: ASGI middleware that lets requests through while the engine can work on them, and counts those in flight."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.entrypoints.openai.errors import error_response
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.paths import ALWAYS_OPEN, route_path
from penstock.errors import EngineDeadError, NotReadyError


class Gate:
    """Answers 503 for all but a few routes while the model loads or the server stops.

    Args:
        front: gives the server's state; None before `init_app`.
    """

    leaves_bodies_alone = True

    def __init__(self, app: ASGIApp, front: Callable[[], Front | None]):
        self._app = app
        self._front = front

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or route_path(scope) in ALWAYS_OPEN:
            await self._app(scope, receive, send)
            return
        front = self._front()
        try:
            if front is None:
                raise NotReadyError("The server has no engine yet.")
            front.check_admits()
        except (NotReadyError, EngineDeadError) as e:
            response = error_response(e, scope)
            if front is not None and front.draining:
                response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        front.enter()
        try:
            await self._app(scope, receive, send)
        finally:
            front.leave()
