"""POST /invocations, the one route that SageMaker calls: the form of the body says which endpoint is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from penstock.entrypoints.openai.body import decode, read_bytes
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.tasks import serves
from penstock.errors import ClientError

Handler = Callable[[Request, Front], Awaitable[Response]]

_INPUTS = ("/v1/embeddings", "/classify", "/pooling")
# The first row whose members a body has, and one of whose routes the model serves, decides.
FORMS: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (frozenset({"messages", "task"}), ("/pooling",)),
    (frozenset({"messages"}), ("/v1/chat/completions", *_INPUTS)),
    (frozenset({"prompt"}), ("/v1/completions",)),
    (frozenset({"query", "documents"}), ("/rerank",)),
    (frozenset({"queries"}), ("/score",)),
    (frozenset({"text_1"}), ("/score",)),
    (frozenset({"data_1"}), ("/score",)),
    (frozenset({"input", "task"}), ("/pooling",)),
    (frozenset({"input"}), _INPUTS),
)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def invocations(handlers: Mapping[str, Handler]) -> Handler:
    """The handler of the route, over those of others by their paths."""

    async def handle(request: Request, front: Front) -> Response:
        raw = await read_bytes(request)
        given = decode(raw, _members).keys()
        for members, paths in FORMS:
            if members <= given:
                for path in paths:
                    if path in handlers and serves(path, front.service.config):
                        return await handlers[path](Request(request.scope, _replay(raw, request)), front)
        known = sorted({path for _, paths in FORMS for path in paths if path in handlers})
        raise ClientError(f"Cannot find suitable handler for request. Expected a body for one of: {', '.join(known)}")

    return handle


def _replay(raw: bytes, request: Request) -> Callable[[], Awaitable[Message]]:
    """A `receive` that gives the body once more, then what the client really does."""
    pending: list[Any] = [{"type": "http.request", "body": raw, "more_body": False}]

    async def receive() -> Message:
        return pending.pop() if pending else await request.receive()

    return receive
