"""POST /v1/messages: a conversation in the form of Anthropic's messages, whole or as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.entrypoints.anthropic.answers import MessageAnswer, MessageUsage, OutputTokensDetails
from penstock.entrypoints.anthropic.chat_request import chat_request, in_own_words
from penstock.entrypoints.anthropic.message_blocks import ContentBlocks, whole_content
from penstock.entrypoints.anthropic.message_stream import FORM, MessageStream
from penstock.entrypoints.anthropic.types import MessagesRequest
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.conversation import AnswerDelta, Conversation, WholeAnswer, open_conversation
from penstock.entrypoints.openai.frame import REQUEST_ID
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.guard import Guard
from penstock.entrypoints.openai.sse import EventStream
from penstock.errors import ClientError, EngineError

_decoder = msgspec.json.Decoder(MessagesRequest)
_encode = msgspec.json.Encoder().encode


async def messages(request: Request, front: Front) -> Response:
    """Handler of the route."""
    service = front.service
    body = await read_body(request, _decoder)
    chat = chat_request(body, service.max_model_len, service.parsers.reasoning is not None)
    public_id = "msg_" + request.scope[REQUEST_ID]
    try:
        conversation = await open_conversation(request, service, chat, public_id)
    except ClientError as e:
        raise in_own_words(e) from None
    writer = MessageWriter(body, conversation, public_id)
    if body.stream:
        return EventStream(writer.events(), conversation.close, service.keep_alive_s, FORM)
    async with Guard(request.receive):
        message = await writer.whole()
    return Response(_encode(message), media_type="application/json")


class MessageWriter:
    """Writes the answer to one request."""

    def __init__(self, body: MessagesRequest, conversation: Conversation, public_id: str):
        self._body = body
        self._conversation = conversation
        self._id = public_id
        self._blocks = ContentBlocks(body.thinking is None or body.thinking.display != "omitted")

    async def whole(self) -> MessageAnswer:
        """The message, when it is complete. Cancelling the wait aborts the request."""
        (answer,) = await self._conversation.whole()
        steps = self._blocks.feed(answer.events) + self._blocks.end()
        message = self._message()
        message.content = whole_content(steps)
        message.stop_reason, message.stop_sequence = self._stop(answer)
        return message

    async def events(self) -> AsyncIterator[bytes]:
        """The message as events."""
        stream = MessageStream()
        begun = False
        async for (delta,) in self._conversation:
            data = stream.steps(self._blocks.feed(delta.events))
            if not begun:  # not before: how much of the prompt was cached is known with the first token
                begun = True
                data = stream.start(self._message()) + data
            if delta.finish_reason is not None:
                data += stream.steps(self._blocks.end()) + stream.end(*self._stop(delta), self._usage())
            if data:
                yield data

    def _message(self) -> MessageAnswer:
        return MessageAnswer(id=self._id, model=self._conversation.model, content=[], usage=self._usage())

    def _usage(self) -> MessageUsage:
        conversation = self._conversation
        cached = conversation.cached_tokens or 0
        return MessageUsage(
            input_tokens=len(conversation.prompt_ids) - cached,
            cache_read_input_tokens=cached,
            output_tokens=conversation.completion_tokens,
            output_tokens_details=OutputTokensDetails(conversation.reasoning_tokens),
        )

    def _stop(self, last: AnswerDelta | WholeAnswer) -> tuple[str, str | None]:
        """`stop_reason` and `stop_sequence`."""
        if last.finish_reason == "abort":
            raise EngineError("the engine ended a request without an answer")
        if isinstance(last.stop_reason, str) and last.stop_reason in (self._body.stop_sequences or ()):
            return "stop_sequence", last.stop_reason
        if last.finish_reason == "length":
            at_limit = self._conversation.completion_tokens >= self._body.max_tokens
            return ("max_tokens" if at_limit else "model_context_window_exceeded"), None
        return ("tool_use" if self._blocks.calls else "end_turn"), None
