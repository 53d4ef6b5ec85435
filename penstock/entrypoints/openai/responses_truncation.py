"""`truncation: "auto"`: a conversation that is too long for the model loses its oldest messages.

What the system says at the beginning stays, and so does the last message. Results of calls go with their calls.
"""

from __future__ import annotations

from starlette.requests import Request

from penstock.entrypoints.openai.chat_prompt import rendered
from penstock.entrypoints.openai.conversation import Conversation, open_conversation
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ContextLengthError


async def open_truncated(
    request: Request, service: Service, chat: ChatRequest, public_id: str, shorten: bool
) -> Conversation:
    """As `open_conversation`.

    Args:
        shorten: with as many of the latest messages as fit.

    Raises:
        ContextLengthError: even the last message alone does not fit, or nothing may be dropped.
    """
    try:
        return await open_conversation(request, service, chat, public_id, tell_spoken=True)
    except ContextLengthError:
        if not shorten:
            raise
        await _shorten(service, chat)
    return await open_conversation(request, service, chat, public_id, tell_spoken=True)


async def _shorten(service: Service, chat: ChatRequest) -> None:
    """Drop the fewest messages that leave room for an answer: what was asked for, else a quarter of the context."""
    context = service.max_model_len
    room = min(chat.max_completion_tokens or context // 4, context // 2)
    messages = chat.messages
    first = next((i for i, m in enumerate(messages) if m["role"] not in ("system", "developer")), len(messages))
    cuts = [i for i in range(first + 1, len(messages)) if messages[i]["role"] != "tool"]
    low, high = 0, len(cuts) - 1  # the cut to make is among these; the last one is made if none is known to fit
    while low < high:
        middle = (low + high) // 2
        chat.messages = messages[:first] + messages[cuts[middle] :]
        if await _fits(service, chat, context - room):
            high = middle
        else:
            low = middle + 1
    if cuts:
        chat.messages = messages[:first] + messages[cuts[low] :]


async def _fits(service: Service, chat: ChatRequest, limit: int) -> bool:
    text = await rendered(chat, service)
    tokenizer = service.tokenizer
    if tokenizer is None:
        return True
    if tokenizer.max_chars_per_token and len(text) > tokenizer.max_chars_per_token * limit:
        return False
    return len(await tokenizer.encode_async(text, False)) <= limit
