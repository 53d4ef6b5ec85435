"""Input items: checked and completed as they come, and turned into the messages of a chat.

An assistant's turn is several items here (reasoning, text, calls) and one message there. Items of tools that only
OpenAI runs are kept and listed, but a model here is not told of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from penstock.entrypoints.openai.responses_output import unsealed
from penstock.errors import ClientError

Json = dict[str, Any]
Find = Callable[[str], Json]

MAX_ITEMS = 1 << 16
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal", "summary_text": "text"}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_RESULTS = ("function_call_output", "custom_tool_call_output")
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


def read_items(given: str | list[Json], key: str, find: Find) -> list[Json]:
    """A request's input as items with a type and an id.

    Args:
        key: what makes new ids unique: the response's id without its prefix.
        find: the item that an item_reference names; raises NotFoundError.

    Raises:
        ClientError: an item is not of a known form; the message says which.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if len(given) > MAX_ITEMS:
        raise ClientError(f"input may have {MAX_ITEMS} items, got {len(given)}.", "input")
    return [_read(item, f"input[{i}]", f"{key}_in{i}", find) for i, item in enumerate(given)]


def chat_messages(items: list[Json], instructions: str | None) -> list[Json]:
    """The same as messages of a chat completion, after what `instructions` say."""
    turn = _Conversation()
    if instructions:
        turn.messages.append({"role": "system", "content": instructions})
    names: dict[str, str] = {}
    for item in items:
        kind = item["type"]
        if kind == "message":
            if item["role"] == "assistant":
                turn.say(_joined_text(item["content"]))
            else:
                turn.add({"role": item["role"], "content": _chat_content(item["content"])})
        elif kind == "reasoning":
            turn.think(_reasoning_of(item))
        elif kind in _CALLS:
            if item.get("status") == "incomplete":  # cut off: there are no arguments that one could read
                continue
            names[item["call_id"]] = item["name"]
            turn.call(item["call_id"], item["name"], _arguments_of(item))
        elif kind in _RESULTS:
            message = {"role": "tool", "tool_call_id": item["call_id"], "content": _chat_content(item["output"])}
            name = item.get("name") or names.get(item["call_id"])
            turn.add({**message, "name": name} if name else message)
    turn.end()
    return _with_one_head(turn.messages)


def continues_last(items: list[Json]) -> bool:
    """Whether the input ends in the middle of something that the assistant says: the answer goes on with it."""
    last = items[-1] if items else {}
    if last.get("type") != "message" or last["role"] != "assistant":
        return False
    return last["status"] in ("in_progress", "incomplete") and bool(_joined_text(last["content"]).strip())


def _with_one_head(messages: list[Json]) -> list[Json]:
    """What systems and developers say at the beginning as one message: most templates know one, and drop a second."""
    end = next((i for i, m in enumerate(messages) if m["role"] not in ("system", "developer")), len(messages))
    if end < 2:
        return messages
    texts = [
        c if isinstance(c, str) else "\n".join(p["text"] for p in c) for c in (m["content"] for m in messages[:end])
    ]
    return [{"role": messages[0]["role"], "content": "\n\n".join(texts)}, *messages[end:]]


class _Conversation:
    """Messages so far, and the assistant's turn that is not over."""

    def __init__(self) -> None:
        self.messages: list[Json] = []
        self._turn: Json | None = None

    def add(self, message: Json) -> None:
        self.end()
        self.messages.append(message)

    def end(self) -> None:
        if self._turn is not None:
            self.messages.append(self._turn)
            self._turn = None

    def think(self, text: str) -> None:
        if text:
            turn = self._assistant(after=("content", "tool_calls"))
            turn["reasoning"] = turn.get("reasoning", "") + text

    def say(self, text: str) -> None:
        turn = self._assistant(after=("tool_calls",))
        turn["content"] = (turn.get("content") or "") + text

    def call(self, call_id: str, name: str, arguments: str) -> None:
        function = {"name": name, "arguments": arguments}
        calls = self._assistant(after=()).setdefault("tool_calls", [])
        calls.append({"id": call_id, "type": "function", "function": function})

    def _assistant(self, after: tuple[str, ...]) -> Json:
        """The turn that is open; a new one if it holds what comes later in a message."""
        if self._turn is not None and any(self._turn.get(member) for member in after):
            self.end()
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
        return self._turn


def _read(item: Json, where: str, new_id: str, find: Find) -> Json:
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item or "content" in item else "item_reference"
    if not isinstance(kind, str):
        raise ClientError(f"{where}.type must be a string.", "input")
    if kind == "item_reference":
        return find(_text_member(item, "id", where))
    result = {**item, "type": kind}
    if kind == "message":
        result["role"] = role = _text_member(item, "role", where)
        result["content"] = _parts(item.get("content"), f"{where}.content", role)
        result["status"] = item.get("status") or "completed"
    elif kind == "reasoning":
        for member in ("summary", "content"):
            if item.get(member) is not None:
                _check_parts(item[member], f"{where}.{member}", {**_TEXTS, "reasoning_text": "text"})
    elif kind in _CALLS:
        for member in ("call_id", "name", _CALLS[kind]):
            _text_member(item, member, where)
    elif kind in _RESULTS:
        _text_member(item, "call_id", where)
        result["output"] = _result(item.get("output"), f"{where}.output")
    if not isinstance(result.get("id"), str):
        result["id"] = f"{_PREFIXES.get(kind, 'item')}_{new_id}"
    return result


def _text_member(item: Json, member: str, where: str) -> str:
    value = item.get(member)
    if not isinstance(value, str):
        raise ClientError(f"{where}.{member} must be a string.", "input")
    return value


def _parts(content: Any, where: str, role: str) -> list[Json]:
    """A message's content as a list of parts."""
    if isinstance(content, str):
        kind = "output_text" if role == "assistant" else "input_text"
        return [{"type": kind, "text": content}]
    return _check_parts(content, where, _TEXTS)


def _result(output: Any, where: str) -> Any:
    """What a call returned: a text, or parts."""
    if isinstance(output, dict):  # {"content": ..., "success": ...}, as older agents say that a call failed
        output = output.get("content")
    return output if isinstance(output, str) else _check_parts(output, where, _TEXTS)


def _check_parts(parts: Any, where: str, known: dict[str, str]) -> list[Json]:
    if not isinstance(parts, list):
        raise ClientError(f"{where} must be a string or a list of parts.", "input")
    for i, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str):
            raise ClientError(f"{where}[{i}] must be an object with a type.", "input")
        if kind not in known:
            raise ClientError(f"{where}[{i}]: this model reads text, not parts of type {kind[:40]!r}.", "input")
        if not isinstance(part.get(known[kind]), str):
            raise ClientError(f"{where}[{i}].{known[kind]} must be a string.", "input")
    return parts


def _chat_content(content: str | list[Json]) -> str | list[Json]:
    if isinstance(content, str):
        return content
    texts = [_text_of(part) for part in content]
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def _joined_text(parts: list[Json]) -> str:
    return "".join(_text_of(part) for part in parts)


def _text_of(part: Json) -> str:
    return str(part[_TEXTS.get(part["type"], "text")])


def _reasoning_of(item: Json) -> str:
    """The reasoning itself, else what was sealed here, else its summary."""
    content = item.get("content")
    if content:
        return _joined_text(content)
    encrypted = item.get("encrypted_content")
    text = unsealed(encrypted) if isinstance(encrypted, str) else None
    return text if text is not None else "\n\n".join(_text_of(part) for part in item.get("summary") or [])


def _arguments_of(item: Json) -> str:
    """A JSON object, as templates want it: what a model wrote that is none must not end an agent's work."""
    text: str = item[_CALLS[item["type"]]]
    if item["type"] == "function_call":
        try:
            if not text or isinstance(json.loads(text), dict):
                return text or "{}"
        except (ValueError, RecursionError):
            pass
    return json.dumps({_CALLS[item["type"]]: text}, ensure_ascii=False)
