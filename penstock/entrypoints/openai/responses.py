"""The routes under /v1/responses: make a response, ask for it again, cancel it, delete it, list its input.

A response is made here, streamed or not, or in the background, where it goes on when its client has left.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.chat_prompt import rendered
from penstock.entrypoints.openai.errors import error_object
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.guard import Guard
from penstock.entrypoints.openai.responses_input import chat_messages, continues_last, read_items
from penstock.entrypoints.openai.responses_output import EventLog
from penstock.entrypoints.openai.responses_request import chat_request, check, renamed
from penstock.entrypoints.openai.responses_run import Run
from penstock.entrypoints.openai.responses_store import MAX_INPUT_BYTES, ResponseStore, StoredResponse
from penstock.entrypoints.openai.responses_truncation import open_truncated
from penstock.entrypoints.openai.responses_types import (
    DeletedResponse,
    InputItemList,
    InputTokenCount,
    ResponsesRequest,
)
from penstock.entrypoints.openai.service import TENANT
from penstock.entrypoints.openai.sse import KEEP_ALIVE, EventStream, StreamForm
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError

Json = dict[str, Any]

# A stream ends with an event that says how the response ended; failures are such events, too.
FORM = StreamForm(b"", KEEP_ALIVE, lambda exc: b"event: error\ndata: " + _error(exc) + b"\n\n")

_decoder = msgspec.json.Decoder(ResponsesRequest, strict=False)
_encode = msgspec.json.Encoder().encode


class Responses:
    """Handlers of the routes; one per app, with the responses that it keeps."""

    def __init__(self) -> None:
        self._store = ResponseStore()

    async def create(self, request: Request, front: Front) -> Response:
        """POST /v1/responses."""
        service = front.service
        body = await read_body(request, _decoder)
        key = uuid.uuid4().hex
        in_background = bool(body.background)
        try:
            check(body)
            if in_background:
                self._store.check_room()
            items, chat = self._prepared(request, body, key, stream=bool(body.stream) or in_background)
            kept = _encode(items)
            if body.store is not False and len(kept) > MAX_INPUT_BYTES:
                raise ClientError(
                    f"the input and what came before it have more than {MAX_INPUT_BYTES} bytes, too many to be kept: "
                    "set `store` to false.",
                    "input",
                )
            # What is echoed can be written: nothing may fail between the engine and the reader.
            _encode([[[body.tools, body.tool_choice, body.text, body.reasoning]]])
            conversation = await open_truncated(request, service, chat, "resp_" + key, body.truncation == "auto")
        except ClientError as e:
            raise renamed(e) from None
        log = EventLog() if body.stream else None
        run = Run(body, key, conversation, log)
        stored = StoredResponse(
            "resp_" + key,
            request.scope.get(TENANT),
            kept,
            run.json,
            background=in_background,
            streamed=log is not None,
        )
        if in_background:
            self._store.add_running(stored)
            stored.make(self._make(run, stored, front))
            if log is not None:
                return _stream(stored.events(0), lambda: None, service.keep_alive_s)
            return _json(stored.response)
        keep = body.store is not False
        if log is not None:
            return _stream(self._streamed(run, stored, keep), conversation.close, service.keep_alive_s)
        async with Guard(request.receive):
            async for _ in run.steps():
                pass
        self._finish(stored, keep)
        return _json(stored.response)

    async def retrieve(self, request: Request, front: Front) -> Response:
        """GET /v1/responses/{response_id}; with `stream=true`, the events of a background response again."""
        stored = self._stored(request)
        if _flag(request, "stream"):
            if not stored.streamed or not stored.background:
                raise ClientError(
                    "Only responses that were made with `background` and `stream` can be streamed again.", "stream"
                )
            start = _number(request, "starting_after", -1, (-1, 2**31)) + 1
            return _stream(stored.events(start), lambda: None, front.service.keep_alive_s)
        return _json(stored.response)

    async def cancel(self, request: Request, front: Front) -> Response:
        """POST /v1/responses/{response_id}/cancel: what is finished stays as it is."""
        stored = self._stored(request)
        if not stored.background:
            raise ClientError("Only responses that were made with `background` can be cancelled.", "response_id")
        await stored.cancel()
        return _json(stored.response)

    async def delete(self, request: Request, front: Front) -> Response:
        """DELETE /v1/responses/{response_id}: one that runs is cancelled."""
        stored = self._stored(request)
        self._store.delete(stored)
        await stored.cancel()
        return _json(_encode(DeletedResponse(stored.response_id)))

    async def input_items(self, request: Request, front: Front) -> Response:
        """GET /v1/responses/{response_id}/input_items: all that the model was given, the latest first."""
        items = self._stored(request).input()
        order, after = request.query_params.get("order", "desc"), request.query_params.get("after")
        if order not in ("asc", "desc"):
            raise ClientError("order must be asc or desc.", "order", order[:80])
        limit = _number(request, "limit", 20, (1, 100))
        if order == "desc":
            items.reverse()
        if after is not None:
            at = next((i for i, item in enumerate(items) if item.get("id") == after), None)
            if at is None:
                raise ClientError("after must be the id of an item of this response.", "after", after[:80])
            items = items[at + 1 :]
        page = items[:limit]
        ids = [item.get("id") for item in page] or [None]
        return _json(_encode(InputItemList(page, ids[0], ids[-1], len(items) > limit)))

    async def count_input(self, request: Request, front: Front) -> Response:
        """POST /v1/responses/input_tokens: how many tokens the input would be; nothing is made."""
        service = front.service
        body = await read_body(request, _decoder)
        service.check_model(body.model)
        try:
            check(body)
            _, chat = self._prepared(request, body, uuid.uuid4().hex, stream=False)
            text = await rendered(chat, service)
        except ClientError as e:
            raise renamed(e) from None
        if service.tokenizer is None:
            raise ClientError("this server has no tokenizer.", "input")
        ids = await service.tokenizer.encode_async(text, False)
        return _json(_encode(InputTokenCount(len(ids))))

    def _prepared(
        self, request: Request, body: ResponsesRequest, key: str, stream: bool
    ) -> tuple[list[Json], ChatRequest]:
        """All items of the conversation, and the chat completion that answers them."""
        tenant = request.scope.get(TENANT)
        items: list[Json] = []
        if body.previous_response_id is not None:
            previous = self._store.get(body.previous_response_id, tenant, "previous_response_id")
            if not previous.finished:
                raise ClientError("The previous response is still in progress.", "previous_response_id")
            items = previous.input() + previous.output()
        items += read_items(body.input, key, self._store.finder(tenant))
        if not items:
            raise ClientError("input must not be empty.", "input")
        chat = chat_request(body, chat_messages(items, body.instructions), stream)
        if continues_last(items):
            chat.continue_final_message = True
        return items, chat

    def _stored(self, request: Request) -> StoredResponse:
        return self._store.get(request.path_params["response_id"], request.scope.get(TENANT), "response_id")

    def _finish(self, stored: StoredResponse, keep: bool) -> None:
        stored.finish()
        if keep:
            self._store.keep(stored)

    async def _streamed(self, run: Run, stored: StoredResponse, keep: bool) -> AsyncIterator[bytes]:
        """The events of a response that lives as long as its client listens; it is kept before its last event."""
        try:
            async for events in run.steps():
                if run.finished:
                    self._finish(stored, keep)
                yield b"".join(events)
        except Exception as e:  # the boundary of one request
            last = run.fail(e)
            self._finish(stored, keep)
            yield b"".join(last)

    async def _make(self, run: Run, stored: StoredResponse, front: Front) -> None:
        """A response in the background, until it is finished or cancelled."""
        front.enter()
        last: list[bytes] = []
        try:
            async for events in run.steps():
                stored.add(events)
        except asyncio.CancelledError:
            last = run.cancel()
        except Exception as e:  # the boundary of one request: whoever asks for it is told
            last = run.fail(e)
        finally:
            front.leave()
            stored.add(last)
            stored.finish()
            self._store.settle(stored)


def _error(exc: BaseException) -> bytes:
    message = error_object(exc).message
    return _encode({"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 0})


def _json(data: bytes) -> Response:
    return Response(data, media_type="application/json")


def _stream(events: AsyncIterator[bytes], close: Callable[[], None], keep_alive_s: float) -> Response:
    return EventStream(events, close, keep_alive_s, FORM)


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise ClientError(f"{name} must be true or false.", name, value[:80])
    return value in ("true", "1")


def _number(request: Request, name: str, default: int, bounds: tuple[int, int]) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    low, high = bounds
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 12 and low <= int(text) <= high):
        raise ClientError(f"{name} must be a number from {low} to {high}.", name, text[:80])
    return int(text)
