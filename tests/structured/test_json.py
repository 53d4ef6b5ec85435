"""Random tokens under the mask of a JSON schema: whatever ends is JSON that the schema allows."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from structured_cases import INT, SCHEMAS, TEXT, compile_for, follows, obj, text_of, walk

from penstock.structured.base import GrammarEngine, GrammarError
from penstock.structured.vocabulary import Vocabulary

CHECKER = jsonschema.FormatChecker()


def assert_valid(text: str, schema: Any) -> None:
    jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator, format_checker=CHECKER)


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_ends_is_valid(name: str, engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    compiled = compile_for(engine, json=SCHEMAS[name] if SCHEMAS[name] is not True else "true")
    for seed in range(3):
        assert_valid(text_of(walk(compiled, vocabulary, seed), vocabulary), SCHEMAS[name])


def test_xgrammar(xgrammar: GrammarEngine, vocabulary: Vocabulary) -> None:
    """What it compiles it holds to; what it does not enforce it refuses."""
    compile_for(xgrammar, json={})  # it compiles at all
    refused = set()
    for name, schema in SCHEMAS.items():
        try:
            compiled = compile_for(xgrammar, json=schema if schema is not True else "true")
        except GrammarError:
            refused.add(name)
            continue
        assert_valid(text_of(walk(compiled, vocabulary, 1), vocabulary), schema)
    assert {"multiple", "oneOf", "allOf", "pattern keys", "ipv4"} <= refused
    assert len(refused) < len(SCHEMAS) / 2


def test_json_object(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    compiled = compile_for(engine, json_object=True)
    assert all(type(json.loads(text_of(walk(compiled, vocabulary, seed), vocabulary))) is dict for seed in range(3))


SAYS = {"a": [1, "x"], "b": {"c": None}}
SAYS_SCHEMA = obj({"a": {"type": "array"}, "b": {"type": "object"}})


@pytest.mark.parametrize("indent", [None, 2, 4])
def test_usual_layouts_are_allowed(indent: int | None, byte_engine: GrammarEngine, byte_vocabulary: Vocabulary) -> None:
    compiled = compile_for(byte_engine, json=SAYS_SCHEMA)
    assert follows(compiled, json.dumps(SAYS, indent=indent), byte_vocabulary)


def test_whitespace_options(byte_engine: GrammarEngine, byte_vocabulary: Vocabulary) -> None:
    compact, spaced = json.dumps(SAYS, separators=(",", ":")), json.dumps(SAYS)
    tight = compile_for(byte_engine, json=SAYS_SCHEMA, disable_any_whitespace=True)
    assert follows(tight, compact, byte_vocabulary)
    assert not follows(tight, spaced, byte_vocabulary)
    tabs = compile_for(byte_engine, json=SAYS_SCHEMA, whitespace_pattern="\t{1,2}")
    assert follows(tabs, compact.replace(":", ":\t\t"), byte_vocabulary)
    assert not follows(tabs, spaced, byte_vocabulary)
    usual = compile_for(byte_engine, json=INT | {"type": "array"})
    assert follows(usual, "[\r\n\t" + " " * 47 + "1]", byte_vocabulary)
    assert not follows(usual, "[\n" + " " * 49 + "1]", byte_vocabulary), "blanks must come to an end"
    assert not follows(usual, "[\n\n1]", byte_vocabulary)


def test_additional_properties(byte_engine: GrammarEngine, byte_vocabulary: Vocabulary) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": TEXT}}}}
    for closed in (False, True):
        compiled = compile_for(byte_engine, json=schema, disable_additional_properties=closed)
        assert follows(compiled, '{"a": {"b": "x"}}', byte_vocabulary)
        assert follows(compiled, '{"a": {"b": "x", "more": 1}}', byte_vocabulary) is not closed


def test_members_come_in_the_order_of_the_schema(byte_engine: GrammarEngine, byte_vocabulary: Vocabulary) -> None:
    compiled = compile_for(byte_engine, json=obj({"z": INT, "a": INT}))
    assert follows(compiled, '{"z": 1, "a": 2}', byte_vocabulary)
    assert not follows(compiled, '{"a": 2, "z": 1}', byte_vocabulary)
