"""The request bodies of Anthropic's routes, as msgspec structs with Anthropic's field names.

Types are checked while the JSON is decoded; unknown fields are ignored. Blocks and tools have too many kinds for that:
`content_blocks.py` and `tools.py` check them and say where something is wrong.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from penstock.entrypoints.openai.types import Int, Json, Name


class InputMessage(msgspec.Struct):
    """A turn, or a part of one: neighbours with the same role belong together."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Json]


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    """`display` "omitted": blocks say that there was thinking, but not what."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Int | None = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: Json


class OutputConfig(msgspec.Struct):
    effort: Name | None = None
    format: OutputFormat | None = None


class CountTokensRequest(msgspec.Struct, kw_only=True):
    """POST /v1/messages/count_tokens: what makes a prompt."""

    model: Name
    messages: list[InputMessage]
    system: str | list[Json] | None = None
    tools: list[Json] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None  # what output_config.format was called at first
    metadata: Any = None  # ignored


class MessagesRequest(CountTokensRequest, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Int
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int | None = None
