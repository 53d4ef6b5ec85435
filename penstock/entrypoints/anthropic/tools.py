"""Anthropic's tools and `tool_choice` in the form of chat completions.

There are tools that the client defines, tools that the client runs but Anthropic defines (`client_tools.py`), and tools
that Anthropic's own servers run. The last are left out of what the model sees: nobody here would run them.
"""

from __future__ import annotations

from typing import Any

from penstock.entrypoints.anthropic.client_tools import client_tool
from penstock.entrypoints.anthropic.types import ToolChoice
from penstock.errors import ClientError

Json = dict[str, Any]

# The types end with a date: web_search_20250305.
RUN_BY_SERVERS = ("web_search", "web_fetch", "code_execution", "tool_search_tool", "mcp_toolset", "advisor")


def chat_tools(tools: list[Json] | None) -> list[Json]:
    """
    Raises:
        ClientError: a tool is malformed, or of a kind that this model cannot use.
    """
    result = []
    for index, tool in enumerate(tools or []):
        place = f"tools.{index}"
        kind = tool.get("type") or "custom"
        if not isinstance(kind, str):
            raise ClientError(f"{place}.type: a string is required.", f"{place}.type")
        if kind == "custom" or "input_schema" in tool:
            result.append(_function(place, tool))
        elif not kind.startswith(RUN_BY_SERVERS):
            known = client_tool(kind)
            if known is None:
                raise ClientError(f"{place}: tools of type {kind[:60]!r} are not supported by this server.", place)
            result.append(_function(place, {**known, "name": tool.get("name") or known["name"]}))
    return result


def chat_tool_choice(choice: ToolChoice | None) -> str | Json | None:
    """
    Raises:
        ClientError: it forces a tool without naming one.
    """
    if choice is None:
        return None
    if choice.type != "tool":
        return {"auto": "auto", "any": "required", "none": "none"}[choice.type]
    if not choice.name:
        raise ClientError("tool_choice.name: the name of a tool is required.", "tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}


def _function(place: str, tool: Json) -> Json:
    name, schema = tool.get("name"), tool.get("input_schema")
    if not isinstance(name, str) or not name:
        raise ClientError(f"{place}.name: a string is required.", f"{place}.name")
    if not isinstance(schema, dict):
        raise ClientError(f"{place}.input_schema: a JSON schema is required: an object.", f"{place}.input_schema")
    function: Json = {"name": name, "parameters": schema}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    if isinstance(tool.get("strict"), bool):
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}
