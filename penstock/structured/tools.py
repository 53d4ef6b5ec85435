"""Tools as constraints: what a model may say when it is made to call one of them, or a certain one, or may call one.

Either plain JSON, or the model's own form of calls as structural tags.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from penstock.structured.spec import close_objects

_DATA = frozenset({"enum", "const", "default", "examples"})  # members that hold values, not schemas
_REMARKS = frozenset({"description", "title", "examples", "default", "$comment"})  # members that bind nothing
_MAPS = frozenset(  # name -> schema
    ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependentRequired", "dependencies")
)

Json = dict[str, Any]


def required_calls_schema(tools: Sequence[Json], *, parallel: bool = True) -> Json:
    """A list of one call or more: [{"name": ..., "parameters": {...}}, ...].

    Args:
        tools: as in a chat request: {"type": "function", "function": {"name", "parameters"?}}.
        parallel: whether there may be more than one.
    """
    definitions = {str(i): moved(parameters_of(tool), f"#/$defs/{i}") for i, tool in enumerate(tools)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool["function"]["name"]}, "parameters": {"$ref": f"#/$defs/{i}"}},
            "required": ["name", "parameters"],
            "additionalProperties": False,
        }
        for i, tool in enumerate(tools)
    ]
    items = calls[0] if len(calls) == 1 else {"anyOf": calls}
    schema: Json = {"type": "array", "items": items, "minItems": 1, "$defs": definitions}
    if not parallel:
        schema["maxItems"] = 1
    return schema


def named_call_schema(tools: Sequence[Json], name: str) -> Json:
    """The arguments of one tool; it must be among `tools`."""
    return next(parameters_of(t) for t in tools if t["function"]["name"] == name)


def call_tags(tools: Sequence[Json], before: str, between: str, after: str, *, strict_only: bool = False) -> list[Json]:
    """One structural tag for each tool: before + its name in JSON + between + its arguments in JSON + after.

    Args:
        strict_only: tools that do not ask for it (`strict`) get any arguments.
    """
    tags = []
    for tool in tools:
        name = json.dumps(tool["function"]["name"], ensure_ascii=False)
        strict = tool["function"].get("strict") is True
        schema = parameters_of(tool) if strict or not strict_only else {"type": "object"}
        content = {"type": "json_schema", "json_schema": schema}
        tags.append({"type": "tag", "begin": before + name + between, "content": content, "end": after})
    return tags


def parameters_of(tool: Json) -> Json:
    """The schema of a tool's arguments; a tool without one takes none. A strict one names all that there may be."""
    parameters = bare(tool["function"].get("parameters"))
    if parameters and tool["function"].get("strict") is True:
        return close_objects(parameters)
    return parameters if parameters else {"type": "object", "properties": {}, "additionalProperties": False}


def bare(schema: Any) -> Any:
    """The schema without what only explains it: of long lists of tools that is most."""
    if isinstance(schema, list):
        return [bare(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    result: Json = {}
    for key, value in schema.items():
        if key in _MAPS and isinstance(value, dict):
            result[key] = {name: bare(part) for name, part in value.items()}
        elif key in _DATA - _REMARKS:
            result[key] = value
        elif key not in _REMARKS:
            result[key] = bare(value)
    return result


def moved(schema: Any, place: str) -> Any:
    """A schema that now stands at `place` of a larger one: what it says of itself is found there."""
    if isinstance(schema, list):
        return [moved(s, place) for s in schema]
    if not isinstance(schema, dict):
        return schema
    result: Json = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str) and value.startswith("#"):
            result[key] = place + value[1:]
        elif key in _DATA:
            result[key] = value
        elif key in _MAPS and isinstance(value, dict):
            result[key] = {name: moved(part, place) for name, part in value.items()}
        else:
            result[key] = moved(value, place)
    return result
