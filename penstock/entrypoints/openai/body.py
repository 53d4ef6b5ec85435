"""Reads a request's JSON body into a struct; every failure is a 400 or 413 that names the place."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.types import Message

from penstock.entrypoints.openai.errors import BodyError, BodyTooLargeError
from penstock.entrypoints.openai.guard import ClientGoneError
from penstock.errors import DeadlineError

MAX_BODY_BYTES = 64 << 20
BODY_TIMEOUT_S = 60.0  # a body that dribbles in longer than this is given up

T = TypeVar("T")

_AT = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"^Object missing required field `(.+)`$")
_BYTE = re.compile(r" \(byte (\d+)\)$")


async def read_body(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """The body as the decoder's type.

    Raises:
        BodyError: not JSON, or not of that type; `param` is "body.<place>".
        BodyTooLargeError: more than MAX_BODY_BYTES.
    """
    return decode(await read_bytes(request), decoder)


async def read_bytes(request: Request) -> bytes:
    """The body as it came; it must be announced as JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise BodyError("1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed")
    return await _read(request)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """`body` as the decoder's type; raises BodyError."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as e:
        raise _schema_error(str(e)) from None
    except msgspec.DecodeError as e:
        raise _json_error(str(e), len(body)) from None
    except UnicodeDecodeError:
        raise _json_error("invalid UTF-8", len(body)) from None
    except RecursionError:
        raise _json_error("nested too deeply", len(body)) from None


async def _read(request: Request) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > MAX_BODY_BYTES:
        raise BodyTooLargeError(f"The body may have at most {MAX_BODY_BYTES} bytes.", "body")
    message = await request.receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        return message.get("body", b"")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _read_rest(request, message)
    except TimeoutError:
        raise DeadlineError(f"The body did not arrive within {BODY_TIMEOUT_S:.0f} seconds.") from None


async def _read_rest(request: Request, message: Message) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise BodyTooLargeError(f"The body may have at most {MAX_BODY_BYTES} bytes.", "body")
        if not message.get("more_body"):
            return b"".join(parts)
        message = await request.receive()


def _schema_error(text: str) -> BodyError:
    at = _AT.search(text)
    place = _dotted(at[1]) if at else ""
    text = _AT.sub("", text)
    missing = _MISSING.match(text)
    if missing:
        return _body_error("missing", f"{place}.{missing[1]}".strip("."), "Field required")
    return _body_error("type_error", place, text)


def _json_error(text: str, size: int) -> BodyError:
    at = _BYTE.search(text)
    offset = at[1] if at else str(size)
    reason = _BYTE.sub("", text).removeprefix("JSON is malformed: ")
    return _body_error("json_invalid", offset, f"JSON decode error: {reason}")


def _body_error(kind: str, place: str, text: str) -> BodyError:
    loc = f"body.{place}".rstrip(".")
    return BodyError(f"1 validation error:\n  {{'type': '{kind}', 'loc': '{loc}', 'msg': '{text}'}}", loc)


def _dotted(path: str) -> str:
    """`messages[0].role` as messages.0.role; `[...]` (any key) disappears."""
    return re.sub(r"\[(\d+)\]", r".\1", path.replace("[...]", "")).strip(".")
