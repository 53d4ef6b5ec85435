"""Tools as a schema: forced calls are JSON that names a tool and fits its parameters."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from structured_cases import INT, TEXT, compile_for, obj, text_of, walk

from penstock.structured.base import GrammarEngine
from penstock.structured.tools import bare, moved, named_call_schema, required_calls_schema
from penstock.structured.vocabulary import Vocabulary


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


POINT = {"$defs": {"P": obj({"x": INT})}, **obj({"at": {"$ref": "#/$defs/P"}, "kind": {"enum": ["$ref", "#"]}})}
OTHER = {"$defs": {"P": TEXT}, **obj({"at": {"$ref": "#/$defs/P"}, "$ref": TEXT})}
TREE = obj({"v": INT, "c": {"type": "array", "items": {"$ref": "#"}, "maxItems": 1}})
TOOLS = [tool("point", POINT), tool("other", OTHER), tool("tree", TREE), tool("now")]


@pytest.mark.parametrize("parallel", [True, False])
def test_required(parallel: bool, engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    schema = required_calls_schema(TOOLS, parallel=parallel)
    compiled = compile_for(engine, json=schema)
    seen: set[str] = set()
    for seed in range(12):
        calls = json.loads(text_of(walk(compiled, vocabulary, seed), vocabulary))
        assert 1 <= len(calls) <= (50 if parallel else 1)
        for call in calls:
            seen.add(call["name"])
            given = next(t["function"]["parameters"] for t in TOOLS if t["function"]["name"] == call["name"])
            jsonschema.validate(call["parameters"], given or {"maxProperties": 0}, jsonschema.Draft202012Validator)
    assert len(seen) >= 3


def test_named() -> None:
    assert named_call_schema(TOOLS, "tree") == TREE
    assert named_call_schema(TOOLS, "now") == {"type": "object", "properties": {}, "additionalProperties": False}


def test_references_move_and_data_does_not() -> None:
    schema = {"$ref": "#/a", "properties": {"$ref": {"$ref": "#"}}, "const": {"$ref": "#"}, "items": [{"$ref": "x"}]}
    assert moved(schema, "#/$defs/0") == {
        "$ref": "#/$defs/0/a",
        "properties": {"$ref": {"$ref": "#/$defs/0"}},
        "const": {"$ref": "#"},
        "items": [{"$ref": "x"}],
    }


def test_what_only_explains_is_left_out() -> None:
    told = {"type": "object", "title": "T", "properties": {"title": {"type": "string", "description": "d"}}}
    named = {**told, "required": ["title"], "anyOf": [{"default": 1, "enum": [{"title": "kept"}]}]}
    assert bare(named) == {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
        "anyOf": [{"enum": [{"title": "kept"}]}],
    }
