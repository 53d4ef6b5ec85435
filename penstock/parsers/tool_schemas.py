"""ToolSchemas: the names and parameter types of a request's tools, and text put into those types."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.parsers.python_literal import NotALiteralError, literal_to_json

Json = dict[str, Any]
_MAX_DEPTH = 8  # of references and alternatives in a parameter's schema
_TYPE_OF = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


class ToolSchemas:
    """Looks up what the request said about its tools; whatever is not there, or not as it should be, is unknown.

    Args:
        tools: as in the request: {"type": "function", "function": {"name", "parameters"}}, or without the inner object.
    """

    def __init__(self, tools: Sequence[Mapping[str, Any]] | None = None):
        self._parameters: dict[str, Json] = {}
        for tool in tools or ():
            function = tool.get("function", tool)
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                parameters = function.get("parameters")
                self._parameters[function["name"]] = parameters if isinstance(parameters, dict) else {}

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def __bool__(self) -> bool:
        return bool(self._parameters)

    def types(self, tool: str, parameter: str) -> frozenset[str]:
        """The JSON types that a parameter may have; empty if unknown."""
        root = self._parameters.get(tool, {})
        properties = root.get("properties")
        schema = properties.get(parameter) if isinstance(properties, dict) else None
        if schema is None:
            schema = root.get("additionalProperties")
        return frozenset(_types(schema, root, _MAX_DEPTH))


def _types(schema: Any, root: Json, depth: int) -> Iterator[str]:
    if not isinstance(schema, dict) or not depth:
        return
    kind = schema.get("type")
    if isinstance(kind, str):
        yield kind
    elif isinstance(kind, list):
        yield from (k for k in kind if isinstance(k, str))
    elif isinstance(schema.get("enum"), list):
        yield from (_TYPE_OF[type(v)] for v in schema["enum"] if type(v) in _TYPE_OF)
    elif "const" in schema and type(schema["const"]) in _TYPE_OF:
        yield _TYPE_OF[type(schema["const"])]
    elif isinstance(schema.get("$ref"), str):
        yield from _types(_referred(schema["$ref"], root), root, depth - 1)
    for word in ("anyOf", "oneOf", "allOf"):
        for one in schema.get(word) or () if isinstance(schema.get(word), list) else ():
            yield from _types(one, root, depth - 1)


def _referred(reference: str, root: Json) -> Any:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def text_to_json(text: str, types: frozenset[str]) -> str:
    """A parameter's text as JSON of one of these types; as a string if it is none of them, and some are known.

    With no types known, what reads as JSON (or as a Python literal) is that, and all else is a string.
    """
    bare = text.strip()
    if types == {"string"}:
        return json.dumps(text, ensure_ascii=False)
    if bare.lower() in ("null", "none") and (not types or "null" in types):
        return "null"
    if bare.lower() in ("true", "false") and (not types or "boolean" in types):
        return bare.lower()
    value = _as_literal(bare)
    if value is not None and (not types or _kind(value) in types or (_kind(value) == "integer" and "number" in types)):
        return value
    return json.dumps(text, ensure_ascii=False)


def _as_literal(text: str) -> str | None:
    """The text if it is JSON; its translation if it is a Python literal."""
    try:
        json.loads(text, parse_constant=_refuse, parse_int=str)
    except (ValueError, RecursionError):
        try:
            return literal_to_json(text)
        except NotALiteralError:
            return None
    return text


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _kind(value: str) -> str:
    """The type of a JSON text."""
    by_first_char = {"{": "object", "[": "array", '"': "string", "t": "boolean", "f": "boolean", "n": "null"}
    kind = by_first_char.get(value[0])
    if kind:
        return kind
    number = float(value)
    return "integer" if number.is_integer() else "number"
