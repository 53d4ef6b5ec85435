"""A request's tools and `tool_choice`: whether they are well formed, and what they force the answer to be."""

from __future__ import annotations

from typing import Any

from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError
from penstock.params import StructuredOutputsParams
from penstock.structured.tools import named_call_schema, required_calls_schema

MAX_TOOLS = 1024


def check_tools(body: ChatRequest, can_read_calls: bool) -> None:
    """
    Args:
        can_read_calls: the server has a parser for the model's own form of calls.

    Raises:
        ClientError: the tools or the choice are malformed, do not fit each other, or cannot be honoured.
    """
    choice = body.tool_choice
    if not body.tools:
        if choice is not None and choice not in ("none", "auto"):
            raise ClientError("When using `tool_choice`, `tools` must be set.", "tool_choice")
        return
    names = _names(body.tools)
    if choice == "none":
        return
    if choice is None or choice == "auto":
        if not can_read_calls:
            raise ClientError(
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set: the chat '
                "template does not tell how this model calls tools.",
                "tool_choice",
            )
        return
    if choice != "required" and not (isinstance(choice, dict) and choice.get("type") == "function"):
        raise ClientError(
            f'Invalid value for `tool_choice`: {str(choice)[:80]}! Only named tools, "none", "auto" or '
            '"required" are supported.',
            "tool_choice",
        )
    if isinstance(choice, dict) and forced_name(choice) not in names:
        raise ClientError(
            "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"
        )


def is_forced(body: ChatRequest) -> bool:
    """Whether the answer has to be a call."""
    return bool(body.tools) and (body.tool_choice == "required" or isinstance(body.tool_choice, dict))


def forced_name(choice: dict[str, Any]) -> Any:
    """The tool that a `tool_choice` of the named kind names."""
    function = choice.get("function")
    return function.get("name") if isinstance(function, dict) else None


def forced_call(body: ChatRequest) -> StructuredOutputsParams | None:
    """The constraint of an answer that has to be a call: the JSON that `parsers/forced.py` reads."""
    if not body.tools or not is_forced(body):
        return None
    if isinstance(body.tool_choice, dict):
        return StructuredOutputsParams(json=named_call_schema(body.tools, forced_name(body.tool_choice)))
    return StructuredOutputsParams(
        json=required_calls_schema(body.tools, parallel=body.parallel_tool_calls is not False)
    )


def _names(tools: list[dict[str, Any]]) -> set[str]:
    if len(tools) > MAX_TOOLS:
        raise ClientError(f"`tools` may hold {MAX_TOOLS} tools, got {len(tools)}.", "tools")
    names = set()
    for index, tool in enumerate(tools):
        function = tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, dict):
            raise ClientError(f"tools[{index}] must be an object with the type function and a function.", "tools")
        name, parameters = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not name:
            raise ClientError(f"tools[{index}].function must have a name.", "tools")
        if parameters is not None and not isinstance(parameters, dict):
            raise ClientError(f"tools[{index}].function.parameters must be a JSON schema: an object.", "tools")
        names.add(name)
    return names
