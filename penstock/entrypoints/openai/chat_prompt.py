"""A chat's messages as the text that the model continues: the request's template, its variables and its tools.

Knows nothing of sampling and of answers; what a template is, is in `tokenizers/chat_template.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.entrypoints.openai.errors import BodyError
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError, UnsupportedError
from penstock.parsers.reasoning.base import SWITCHES
from penstock.tokenizers.chat_template import ChatTemplate

Json = dict[str, Any]

# What a template is given in other ways than by chat_template_kwargs.
TEMPLATE_ARGUMENTS = {"messages", "tools", "documents", "add_generation_prompt", "continue_final_message"}

RENDER_INLINE_MESSAGES = 128  # some 30 us each; longer chats are rendered on a thread
RENDER_INLINE_CHARS = 1 << 16


async def rendered(body: ChatRequest, service: Service) -> str:
    """The prompt text of a chat, made without holding up the event loop.

    Raises:
        ClientError: the messages do not fit the template, or a field of the request that is for it is wrong.
    """
    _check(body)
    template = _template(body, service)
    arguments = _arguments(body, service, template)
    try:
        if body.chat_template is not None:  # a stranger's
            return await service.template_process.render(template, **arguments)
        if _is_short(body.messages):
            return template.render(**arguments)
        return await asyncio.to_thread(template.render, **arguments)
    except UnsupportedError as e:  # a picture for a model that reads text: the request is at fault, not the server
        raise ClientError(e.message, e.param) from None


def template_kwargs(body: ChatRequest, service: Service) -> Json:
    """The variables that the template gets besides the conversation: the server's, and the request's over them."""
    given = body.chat_template_kwargs or {}
    taken = sorted(TEMPLATE_ARGUMENTS & given.keys())
    if taken:
        raise ClientError(f"{taken[0]} cannot be set in chat_template_kwargs.", "chat_template_kwargs")
    variables = {**service.template_kwargs, **given}
    if body.reasoning_effort is not None:
        variables["reasoning_effort"] = body.reasoning_effort
        if body.reasoning_effort == "none" and not any(name in given for name in SWITCHES):
            variables.update(dict.fromkeys(SWITCHES, False))
    return variables


def final_text(body: ChatRequest) -> str | None:
    """The message that the answer continues; None if it begins a new one."""
    if not body.continue_final_message:
        return None
    content = body.messages[-1].get("content")
    if isinstance(content, list):
        content = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    return content or ""


def _check(body: ChatRequest) -> None:
    if body.continue_final_message and body.add_generation_prompt:
        raise ClientError(
            "Cannot set both `continue_final_message` and `add_generation_prompt` to True.", "continue_final_message"
        )
    if body.continue_final_message:
        body.add_generation_prompt = False
    if not body.messages:
        raise ClientError("messages must not be empty.", "messages")
    if body.media_io_kwargs or body.mm_processor_kwargs:
        raise ClientError("this model takes text only; media options are refused.", "mm_processor_kwargs")


def _is_short(messages: list[Json]) -> bool:
    """Whether rendering takes so little time that the event loop can wait for it."""
    if len(messages) > RENDER_INLINE_MESSAGES:
        return False
    contents = (m.get("content") for m in messages)
    return sum(len(c) if isinstance(c, str) else len(str(c)) for c in contents) <= RENDER_INLINE_CHARS


def _template(body: ChatRequest, service: Service) -> ChatTemplate:
    if body.chat_template is None:
        return service.template
    if not service.trust_request_template:
        raise ClientError(
            "Chat template is passed with request, but --trust-request-chat-template is not set. Refused.",
            "chat_template",
        )
    return service.template.replaced(body.chat_template)


def _arguments(body: ChatRequest, service: Service, template: ChatTemplate) -> Json:
    """Those of `ChatTemplate.render`."""
    hidden = body.tool_choice == "none" and service.exclude_unused_tools
    return {
        "messages": [_message(m, i, template) for i, m in enumerate(body.messages)],
        "tools": None if hidden else body.tools or None,
        "add_generation_prompt": body.add_generation_prompt is not False,
        "continue_final_message": bool(body.continue_final_message),
        "documents": body.documents,
        "chat_template_kwargs": template_kwargs(body, service),
    }


def _message(message: Json, index: int, template: ChatTemplate) -> Json:
    """With a role that the template knows, and the reasoning under both of its names."""
    role = message.get("role")
    if not isinstance(role, str):
        loc = f"body.messages.{index}.role"
        kind, text = ("missing", "Field required") if role is None else ("type_error", "Expected `str`")
        raise BodyError(f"1 validation error:\n  {{'type': '{kind}', 'loc': '{loc}', 'msg': '{text}'}}", loc)
    if role == "developer" and not template.mentions("developer"):
        message = {**message, "role": "system"}
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if reasoning is None:
        return message
    return {**message, "reasoning": reasoning, "reasoning_content": reasoning}
