"""Errors in the form of Anthropic's API: a `type` for every status, and the field that is wrong in the message.

What an exception may tell, and its status, is decided in `openai/errors.py`.
"""

from __future__ import annotations

import re

import msgspec

from penstock.entrypoints.openai.answers import ErrorObject

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}

# How `openai/body.py` says that a body does not have the schema.
_SCHEMA_ERROR = re.compile(r"1 validation error:\n  \{'type': '\w+', 'loc': '[^']*', 'msg': '(.*)'\}", re.DOTALL)


class AnthropicError(msgspec.Struct):
    type: str
    message: str


class AnthropicErrorAnswer(msgspec.Struct, kw_only=True):
    """Body of every error of these routes."""

    type: str = "error"
    error: AnthropicError


def anthropic_error(error: ErrorObject) -> bytes:
    """The body for an error; its status stays as it is."""
    fallback = "api_error" if error.code >= 500 else "invalid_request_error"
    place = (error.param or "").removeprefix("body.")
    schema_error = _SCHEMA_ERROR.fullmatch(error.message)
    message = schema_error[1] if schema_error else error.message
    if place.isdecimal():
        message = f"body: {message} (byte {place})"
    elif place not in message:
        message = f"{place}: {message}"
    return msgspec.json.encode(AnthropicErrorAnswer(error=AnthropicError(TYPES.get(error.code, fallback), message)))
