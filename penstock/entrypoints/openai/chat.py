"""POST /v1/chat/completions: a conversation in the form of OpenAI's chat completions, whole or as a stream."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.entrypoints.openai.answers import (
    ChatChoice,
    ChatCompletion,
    ChatMessage,
    ChatToolCall,
    ChatToolMessage,
    FunctionCall,
)
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.chat_prompt import final_text
from penstock.entrypoints.openai.chat_stream import ChatStream
from penstock.entrypoints.openai.conversation import Conversation, WholeAnswer, open_conversation
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.guard import Guard
from penstock.entrypoints.openai.logprobs import chat_logprobs, prompt_logprobs
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.openai.sse import EventStream
from penstock.entrypoints.openai.types import ChatRequest
from penstock.parsers.events import Message

_decoder = msgspec.json.Decoder(ChatRequest, strict=False)
_encode = msgspec.json.Encoder().encode


async def chat_completions(request: Request, front: Front) -> Response:
    """Handler of the route."""
    service = front.service
    body = await read_body(request, _decoder)
    public_id = "chatcmpl-" + service.public_id(request, body)
    conversation = await open_conversation(request, service, body, public_id)
    answer = ChatAnswer(conversation, service, public_id)
    if body.stream:
        return EventStream(answer.events(), conversation.close, service.keep_alive_s)
    async with Guard(request.receive):
        answers = await conversation.whole()
    return Response(_encode(answer.whole(answers)), media_type="application/json")


class ChatAnswer:
    """Writes the answer to one chat request."""

    def __init__(self, conversation: Conversation, service: Service, public_id: str):
        body = conversation.body
        self._conversation = conversation
        self._body = body
        self._service = service
        self._id = public_id
        self._created = int(time.time())
        self._role = service.response_role
        if body.continue_final_message or body.add_generation_prompt is False:
            self._role = str(body.messages[-1].get("role"))
        self._echo = (final_text(body) or "") if body.echo else ""
        self._top = -1 if body.logprob_token_ids else body.top_logprobs or 0
        as_ids = body.return_tokens_as_token_ids
        self._as_ids = service.tokens_as_ids if as_ids is None else as_ids

    def whole(self, answers: list[WholeAnswer]) -> ChatCompletion:
        """The answer to a request that does not stream."""
        conversation = self._conversation
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=conversation.model,
            choices=[self._choice(a) for a in answers],
            usage=conversation.usage(),
            system_fingerprint=self._service.fingerprint,
            prompt_logprobs=prompt_logprobs(conversation.prompt_logprobs),
            prompt_token_ids=conversation.prompt_ids if self._body.return_token_ids else None,
        )

    def _choice(self, answer: WholeAnswer) -> ChatChoice:
        logprobs = None
        if self._body.logprobs and answer.logprobs is not None:
            logprobs = chat_logprobs(answer.token_ids, answer.logprobs, self._top, as_ids=self._as_ids)
        return ChatChoice(
            index=answer.index,
            message=self._message(answer.message),
            logprobs=logprobs,
            finish_reason=answer.finish_reason,
            stop_reason=answer.stop_reason,
            token_ids=answer.token_ids if self._body.return_token_ids else None,
        )

    def _message(self, message: Message) -> ChatMessage:
        content = message.content
        if self._echo:
            content = self._echo + (content or "")
        fields: dict[str, Any] = {
            "role": self._role,
            "content": content,
            "reasoning": message.reasoning,
            "reasoning_content": message.reasoning,
        }
        if not message.tool_calls:
            return ChatMessage(**fields)
        calls = [ChatToolCall(c.id, FunctionCall(c.name, c.arguments)) for c in message.tool_calls]
        return ChatToolMessage(**fields, tool_calls=calls)

    def events(self) -> ChatEvents:
        """The answer as events, without the final [DONE]."""
        conversation = self._conversation
        usage_at_end, usage_always = self._service.stream_usage(self._body)
        stream = ChatStream(
            conversation=conversation,
            head={
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": conversation.model,
            },
            fingerprint=self._service.fingerprint,
            role=self._role,
            echo=self._echo,
            top_logprobs=self._top if self._body.logprobs else None,
            as_ids=self._as_ids,
            with_ids=bool(self._body.return_token_ids),
            usage_always=usage_always,
            usage_at_end=usage_at_end,
        )
        return ChatEvents(conversation, stream)


class ChatEvents:
    """The events of one stream; `sse.Told`."""

    def __init__(self, conversation: Conversation, stream: ChatStream):
        self.over = False
        self.listen = conversation.listen
        self._conversation = conversation
        self._stream = stream

    def take(self) -> bytes:
        deltas = self._conversation.take()
        new = self._stream.chunks(deltas) if deltas else b""
        if self._conversation.over and not self.over:
            self.over = True
            new += self._stream.end()
        return new
