"""Anthropic's system prompt and messages as the messages of a chat template.

A template knows one system message at the start, plain texts, and one message per tool result; Anthropic's turns hold
all of it as blocks.
"""

from __future__ import annotations

import json
from typing import Any

from penstock.entrypoints.anthropic.content_blocks import block_text, placed, result_text, string_of
from penstock.entrypoints.anthropic.types import InputMessage
from penstock.errors import ClientError

Json = dict[str, Any]
Placed = tuple[str, Json]

# A line for Anthropic's own billing that agents put in front of their system prompt. It changes with every request, and
# no prefix of a prompt behind it could ever be found in the cache.
BILLING = "x-anthropic-billing-header:"


def chat_messages(system: str | list[Json] | None, messages: list[InputMessage]) -> list[Json]:
    """Messages for a chat template, with tool calls and reasoning as chat completions have them.

    Raises:
        ClientError: a block is malformed, or nothing that this model can read; `param` is its place.
    """
    lead = [block_text(*b) for b in placed(system, "system")] if system else []
    turns: list[tuple[str, list[Placed]]] = []
    for index, message in enumerate(messages):
        blocks = placed(message.content, f"messages.{index}.content")
        role: str = message.role
        if role == "system":
            if not turns:
                lead += [block_text(*b) for b in blocks]
                continue
            role, blocks = "user", [(place, _reminder(place, block)) for place, block in blocks]
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    if not turns:
        raise ClientError("messages: at least one message of the user is required.", "messages")
    lead = [text for text in map(_without_billing, lead) if text]
    result: list[Json] = [{"role": "system", "content": _content(lead)}] if lead else []
    names: dict[str, str] = {}
    for role, blocks in turns:
        result += [_assistant(blocks, names)] if role == "assistant" else _user(blocks, names)
    return result


def continues(messages: list[Json]) -> bool:
    """Whether the answer goes on with what the last of these chat messages says.

    Raises:
        ClientError: it is the assistant's, but has nothing that could be continued.
    """
    last = messages[-1] if messages else {"role": "system"}
    if last["role"] == "system":
        raise ClientError("messages: at least one message of the user or the assistant is required.", "messages")
    if last["role"] != "assistant":
        return False
    if last.get("tool_calls") or not (last["content"] or "").strip():
        raise ClientError(
            "messages: the last message is the assistant's and must end with text to be continued; the result of each "
            "tool_use belongs into a message of the user after it.",
            "messages",
        )
    return True


def ends_with_results(messages: list[InputMessage]) -> bool:
    """Whether the last message gives the model results of its tool calls."""
    content = messages[-1].content if messages else ""
    return not isinstance(content, str) and any(b.get("type") == "tool_result" for b in content)


def _user(blocks: list[Placed], names: dict[str, str]) -> list[Json]:
    """Results become messages of their own, in the order of the blocks."""
    result: list[Json] = []
    texts: list[str] = []
    for place, block in blocks:
        if block.get("type") != "tool_result":
            texts.append(block_text(place, block))
            continue
        if texts:
            result.append({"role": "user", "content": _content(texts)})
            texts = []
        call_id = string_of(place, block, "tool_use_id")
        message = {"role": "tool", "tool_call_id": call_id, "content": result_text(place, block)}
        if call_id in names:
            message["name"] = names[call_id]
        result.append(message)
    if texts:
        result.append({"role": "user", "content": _content(texts)})
    return result or [{"role": "user", "content": ""}]


def _assistant(blocks: list[Placed], names: dict[str, str]) -> Json:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for place, block in blocks:
        kind = block.get("type")
        if kind == "thinking":
            thoughts.append(string_of(place, block, "thinking"))
        elif kind == "tool_use":
            calls.append(_call(place, block))
            names[calls[-1]["id"]] = calls[-1]["function"]["name"]
        elif kind != "redacted_thinking":  # only its writer can read that
            texts.append(block_text(place, block))
    message: Json = {"role": "assistant", "content": "".join(texts) or None}
    if any(thoughts):
        message["reasoning"] = message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return message


def _call(place: str, block: Json) -> Json:
    arguments = block.get("input")
    if not isinstance(arguments, dict):
        raise ClientError(f"{place}.input: an object is required.", f"{place}.input")
    function = {"name": string_of(place, block, "name"), "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": string_of(place, block, "id"), "type": "function", "function": function}


def _content(texts: list[str]) -> str | list[Json]:
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": t} for t in texts]


def _reminder(place: str, block: Json) -> Json:
    """Templates refuse a system message in the middle; agents mark such words in the user's turn like this."""
    return {"type": "text", "text": f"<system-reminder>\n{block_text(place, block)}\n</system-reminder>"}


def _without_billing(text: str) -> str:
    if not text.startswith(BILLING):
        return text
    return text.partition("\n")[2].lstrip("\n")
