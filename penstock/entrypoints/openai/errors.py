"""Exceptions to error JSON: the one place that knows status, `type`, `param` and the retry headers.

An exception that is not one of ours is logged with an id and answered without its text.
"""

from __future__ import annotations

import http
import math
import re
import uuid

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from penstock.entrypoints.anthropic.errors import anthropic_error
from penstock.entrypoints.openai.answers import ErrorAnswer, ErrorObject
from penstock.entrypoints.openai.paths import speaks_anthropic
from penstock.errors import (
    ClientError,
    DeadlineError,
    EngineDeadError,
    EngineError,
    PenstockError,
    RetryLaterError,
)
from penstock.observability.logging import get_logger

log = get_logger(__name__)

_PRIVATE = re.compile(r"0x[0-9a-fA-F]{6,}|(?<![\w.])/(?:[\w.\-]+/)+[\w.\-]*")
_KINDS = {404: "NotFoundError", 405: "MethodNotAllowedError", 413: "RequestEntityTooLargeError"}
_VALUE_LIMIT = 2000  # longer texts of errors are cut: they may quote a request


class BodyError(ClientError):
    """The body does not have the schema; `param` is "body.<field>"."""

    kind = "Bad Request"


class BodyTooLargeError(ClientError):
    """The body is larger than the server reads."""

    status = 413
    kind = "RequestEntityTooLargeError"


class UnauthorizedError(ClientError):
    """No key, or a wrong one."""

    status = 401
    kind = "AuthenticationError"


def error_object(exc: BaseException) -> ErrorObject:
    """What the client may know about `exc`."""
    if isinstance(exc, ClientError):
        return ErrorObject(_scrub(exc.message), exc.kind, exc.param, exc.status)
    if isinstance(exc, EngineDeadError):
        return ErrorObject("The engine stopped. The server's log says why.", exc.kind, None, exc.status)
    if isinstance(exc, EngineError):
        return ErrorObject("Internal server error", exc.kind, None, exc.status)
    if isinstance(exc, PenstockError):
        return ErrorObject(_scrub(str(exc)), exc.kind, None, exc.status)
    if isinstance(exc, HTTPException):
        phrase = http.HTTPStatus(exc.status_code).phrase
        return ErrorObject(str(exc.detail), _KINDS.get(exc.status_code, phrase), None, exc.status_code)
    if isinstance(exc, RecursionError):
        return ErrorObject("The body is nested too deeply.", "Bad Request", "body", 400)
    name = uuid.uuid4().hex[:12]
    log.error("error %s while handling a request", name, exc_info=exc)
    return ErrorObject(f"Internal server error (see {name} in the server's log)", "InternalServerError", None, 500)


def error_json(exc: BaseException) -> bytes:
    return msgspec.json.encode(ErrorAnswer(error_object(exc)))


def error_response(exc: BaseException, scope: Scope) -> Response:
    """The whole HTTP answer for `exc`, in the form of the API that the request is for."""
    error = error_object(exc)
    body = anthropic_error(error) if speaks_anthropic(scope) else msgspec.json.encode(ErrorAnswer(error))
    return Response(body, error.code, headers=_headers(exc), media_type="application/json")


def _headers(exc: BaseException) -> dict[str, str]:
    if isinstance(exc, RetryLaterError):
        seconds = max(exc.retry_after_s, 0.001)
        return {
            "Retry-After": str(max(1, math.ceil(seconds))),
            "retry-after-ms": str(math.ceil(seconds * 1000)),
            "x-should-retry": "true",
        }
    if isinstance(exc, UnauthorizedError):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(exc, HTTPException):
        return dict(exc.headers or {})
    if isinstance(exc, DeadlineError):
        return {"x-should-retry": "false"}
    if isinstance(exc, ClientError):
        return {}
    return {"x-should-retry": "false"}  # a fault of ours repeats itself: a retry would only add load


def _scrub(message: str) -> str:
    """Without addresses and paths of the machine, and of bounded length."""
    message = _PRIVATE.sub("...", message)
    return message if len(message) <= _VALUE_LIMIT else message[:_VALUE_LIMIT] + "..."
