"""Wire: the way of a streamed body from its writer to the connection, past the middleware and its dozen calls.

Only for the middle of a body whose beginning the middleware has seen, and only where none of it looks at bodies.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Scope

WIRE = "penstock.wire"  # scope key: the Wire of the request, if there is one


class Cycle(Protocol):
    """One request and its answer, as uvicorn's HTTP/1.1 protocols keep them."""

    transport: Any
    flow: Any
    disconnected: bool
    chunked_encoding: bool | None


class Wire:
    """Writes parts of one answer's body.

    Args:
        cycle: the server's.

    Attributes:
        sent: bytes of the body that went this way.
    """

    __slots__ = ("_cycle", "sent")

    def __init__(self, cycle: Cycle):
        self._cycle = cycle
        self.sent = 0

    @property
    def is_open(self) -> bool:
        """The answer has begun, and its client is there and reads."""
        cycle = self._cycle
        return not (cycle.flow.write_paused or cycle.disconnected) and bool(cycle.chunked_encoding)

    def write(self, data: bytes) -> None:
        """Send a part that is not empty, while `is_open`."""
        self._cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.sent += len(data)


def leaves_bodies_alone(app: Any) -> bool:
    """Whether an app has no middleware around it that could want to see or change the bodies of answers.

    Ours says so itself, by a class attribute of this name.
    """
    if not isinstance(app, Starlette):  # it may be wrapped in anything
        return False
    return all(m.cls is CORSMiddleware or getattr(m.cls, "leaves_bodies_alone", False) for m in app.user_middleware)


def wire_of(scope: Scope) -> Wire | None:
    """The request's, if its server and its app allow one."""
    wire: Wire | None = scope.get(WIRE)
    return wire
