"""What a parser says about an answer, piece by piece, and the message that the pieces make.

A message that is not streamed is made from the same events, so that both are the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class ContentDelta(msgspec.Struct, frozen=True):
    """More of what the model says to the user."""

    text: str


class ReasoningDelta(msgspec.Struct, frozen=True):
    """More of what the model says to itself."""

    text: str


class ToolCallStart(msgspec.Struct, frozen=True):
    """A call begins. Calls do not overlap, and `index` counts them from 0."""

    index: int
    id: str
    name: str


class ArgumentsDelta(msgspec.Struct, frozen=True):
    """More of a call's arguments: the pieces together are a JSON text (half of one, if the answer was cut off)."""

    index: int
    text: str


class ToolCallEnd(msgspec.Struct, frozen=True):
    """A call is complete."""

    index: int


Event = ContentDelta | ReasoningDelta | ToolCallStart | ArgumentsDelta | ToolCallEnd


class ToolCall(msgspec.Struct):
    """One call; `arguments` is a JSON text."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct):
    """An assistant's message.

    Attributes:
        content: None if the model said nothing to the user, but thought or called a tool.
        reasoning: None if there was none.
    """

    content: str | None
    reasoning: str | None
    tool_calls: list[ToolCall]


def joined(events: Iterable[Event]) -> Message:
    """The message that these events tell."""
    content: list[str] = []
    reasoning: list[str] = []
    starts: list[ToolCallStart] = []
    arguments: list[list[str]] = []
    for event in events:
        match event:
            case ContentDelta(text):
                content.append(text)
            case ReasoningDelta(text):
                reasoning.append(text)
            case ToolCallStart():
                starts.append(event)
                arguments.append([])
            case ArgumentsDelta(index, text):
                arguments[index].append(text)
    text, thought = "".join(content), "".join(reasoning)
    calls = [ToolCall(s.id, s.name, "".join(a)) for s, a in zip(starts, arguments, strict=True)]
    return Message(text or (None if thought or calls else ""), thought or None, calls)
