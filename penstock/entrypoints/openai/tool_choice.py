"""A request's tools and `tool_choice`: whether they are well formed, and what they force the answer to be."""

from __future__ import annotations

import json
from typing import Any

from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError
from penstock.params import StructuredOutputsParams
from penstock.parsers.tool.base import CallForm
from penstock.structured.spec import PARAM, check_size
from penstock.structured.tools import call_tags, named_call_schema, required_calls_schema

MAX_TOOLS = 1024


def check_tools(body: ChatRequest, can_read_calls: bool) -> None:
    """Check the tools and the choice, and put a choice among some of the tools as one among all there are.

    Args:
        can_read_calls: the server has a parser for the model's own form of calls.

    Raises:
        ClientError: the tools or the choice are malformed, do not fit each other, or cannot be honoured.
    """
    if isinstance(body.tool_choice, dict) and body.tool_choice.get("type") == "allowed_tools":
        _narrow(body, body.tool_choice)
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


def _narrow(body: ChatRequest, choice: dict[str, Any]) -> None:
    """Leave the request the tools that {"type": "allowed_tools"} allows, and its mode as the choice."""
    allowed = choice.get("allowed_tools")
    listed = allowed.get("tools") if isinstance(allowed, dict) else None
    if not isinstance(listed, list) or not isinstance(allowed, dict) or allowed.get("mode") not in ("auto", "required"):
        raise ClientError(
            "`tool_choice` of the type allowed_tools needs allowed_tools with a list of tools, and auto or required as "
            "its mode.",
            "tool_choice",
        )
    names = [forced_name(t) if isinstance(t, dict) else None for t in listed]
    known = {n for t in body.tools or () if (n := forced_name(t)) is not None}
    if not names or not known.issuperset(names):
        raise ClientError("allowed_tools names a tool that is not among the specified `tools`", "tool_choice")
    body.tools = [t for t in body.tools or () if forced_name(t) in names]
    body.tool_choice = allowed["mode"]


def is_forced(body: ChatRequest) -> bool:
    """Whether the answer has to be a call."""
    return bool(body.tools) and (body.tool_choice == "required" or isinstance(body.tool_choice, dict))


def forced_name(choice: dict[str, Any]) -> str | None:
    """The name in a `tool_choice` of the named kind, or in a tool; None if there is none."""
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def constraint_of_tools(
    body: ChatRequest, form: CallForm | None, content: StructuredOutputsParams | None
) -> StructuredOutputsParams | None:
    """The constraint of an answer to a request with tools.

    A forced call is bound to its schema, in the model's own form or as the plain JSON that `parsers/forced.py` reads.
    Where the choice is the model's, calls of tools with `strict` are bound, and the content is as `content` says.

    Args:
        form: of the model's own calls, where a grammar can write it.
        content: the constraint that the request brings for its answer.

    Raises:
        ClientError: a forced call, and another constraint.
    """
    if not body.tools or body.tool_choice == "none":
        return content
    forced = is_forced(body)
    if forced and content is not None:
        raise ClientError(
            "You can only either use constraints for structured outputs or tools, not both.", "tool_choice"
        )
    parallel = body.parallel_tool_calls is not False
    if form is None:
        return _plain_call(body, body.tools, parallel) if forced else content
    tools, named = body.tools, isinstance(body.tool_choice, dict)
    if isinstance(body.tool_choice, dict):
        name = forced_name(body.tool_choice)
        tools = [next(t for t in tools if t["function"]["name"] == name)]
    tags = call_tags(tools, form.before, form.between, form.after, strict_only=not forced)
    calls = {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": form.separator,
        "at_least_one": True,
        "stop_after_first": named or not parallel,
    }
    if forced:
        return _tagged(calls)
    if content is not None:
        schema = _schema_of(content)
        return content if schema is None else _tagged({"type": "or", "elements": [schema, calls]}, content)
    if form.trigger and any(t["function"].get("strict") is True for t in tools):
        return _tagged({"type": "triggered_tags", "triggers": [form.trigger], "tags": tags})
    return None


def _plain_call(body: ChatRequest, tools: list[dict[str, Any]], parallel: bool) -> StructuredOutputsParams:
    if isinstance(body.tool_choice, dict):
        return StructuredOutputsParams(json=named_call_schema(tools, forced_name(body.tool_choice) or ""))
    return StructuredOutputsParams(json=required_calls_schema(tools, parallel=parallel))


def _schema_of(content: StructuredOutputsParams) -> dict[str, Any] | None:
    """The schema of a constraint that is one, as a format of structural tags."""
    if content.json_object:
        return {"type": "json_schema", "json_schema": {"type": "object"}}
    if isinstance(content.json, dict):
        return {"type": "json_schema", "json_schema": content.json}
    return None


def _tagged(form: dict[str, Any], options: StructuredOutputsParams | None = None) -> StructuredOutputsParams:
    tag = json.dumps({"type": "structural_tag", "format": form}, ensure_ascii=False)
    if options is None:
        return StructuredOutputsParams(structural_tag=tag)
    return StructuredOutputsParams(
        structural_tag=tag,
        disable_any_whitespace=options.disable_any_whitespace,
        disable_additional_properties=options.disable_additional_properties,
        whitespace_pattern=options.whitespace_pattern,
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
        try:
            check_size(parameters, "parameters")
        except ClientError as e:
            raise ClientError(e.message.replace(PARAM, f"tools[{index}].function", 1), "tools") from None
        names.add(name)
    return names
