"""ASGI middleware that asks for an API key on every route but the public ones."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.entrypoints.openai.errors import UnauthorizedError, error_response
from penstock.entrypoints.openai.paths import PUBLIC, route_path
from penstock.entrypoints.openai.service import TENANT


class Authentication:
    """Lets requests through that bring a key, as `Authorization: Bearer K` or `x-api-key: K`.

    Args:
        keys: every one of them is good; only their hashes are kept.
        protect_metrics: ask for a key at /metrics, too.
    """

    leaves_bodies_alone = True

    def __init__(self, app: ASGIApp, keys: Sequence[str], protect_metrics: bool = False):
        self._app = app
        self._digests = [hashlib.sha256(k.encode()).digest() for k in keys]
        self._public = PUBLIC - {"/metrics"} if protect_metrics else PUBLIC

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        digest = self._matching(scope)
        if digest is None:
            if kind == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
                return
            await error_response(UnauthorizedError("A valid API key is required."), scope)(scope, receive, send)
            return
        if len(self._digests) > 1:
            scope[TENANT] = digest.hex()[:16]
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["type"] == "http" and (scope["method"] == "OPTIONS" or route_path(scope) in self._public)

    def _matching(self, scope: Scope) -> bytes | None:
        """The digest of the key that the request brings, if it is a good one."""
        found = None
        for given in _keys(scope):
            digest = hashlib.sha256(given).digest()
            for good in self._digests:  # all of them, so that the time taken says nothing
                if hmac.compare_digest(digest, good):
                    found = good
        return found


def _keys(scope: Scope) -> list[bytes]:
    keys = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":
                keys.append(key.strip())
        elif name == b"x-api-key":
            keys.append(value)
    return keys[:4]
