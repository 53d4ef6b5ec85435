"""Schemas, and a reader of masks that walks an answer to its end with random tokens."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from penstock.params import StructuredOutputsParams
from penstock.structured.base import CompiledGrammar, Grammar, GrammarEngine, mask_words
from penstock.structured.constraint import Constraint
from penstock.structured.deep_thread import DeepThread
from penstock.structured.spec import spec_of
from penstock.structured.vocabulary import Vocabulary

Json = dict[str, Any]

_CLOSERS = (b'"', b"]", b"}", b")", b"_", b"@")  # an email address is not over before its @


DEEP = DeepThread()


def compile_for(engine: GrammarEngine, **fields: Any) -> CompiledGrammar:
    return DEEP.submit(engine.compile, spec_of(StructuredOutputsParams(**fields))).result()


def allowed(grammar: Grammar | Constraint, vocabulary: Vocabulary) -> list[int]:
    """The ids that a grammar's mask allows, in order."""
    row = np.zeros(mask_words(len(vocabulary)), np.int32)
    grammar.fill_mask(row)
    return np.flatnonzero(np.unpackbits(row.view(np.uint8), bitorder="little")).tolist()


def walk(compiled: CompiledGrammar, vocabulary: Vocabulary, seed: int, limit: int = 600) -> list[int]:
    """Tokens of an answer that ended: chosen at random among the allowed, ever more often one that closes something."""
    rng, grammar, ids = random.Random(seed), compiled.start(), []
    ends = set(vocabulary.eos_ids)
    for step in range(limit):
        ids_allowed = allowed(grammar, vocabulary)
        others = [i for i in ids_allowed if i not in ends]
        assert ids_allowed, "a grammar that is not done allows something"
        if not others or (len(others) < len(ids_allowed) and rng.random() < 0.3 + step / 100):
            return ids
        closing = [i for i in others if vocabulary.pieces[i] in _CLOSERS] if rng.random() < step / 60 else []
        ids.append(rng.choice(closing or others))
        assert grammar.accept([ids[-1]]) == 1
        if grammar.done:
            assert set(allowed(grammar, vocabulary)) == ends
            return ids
    raise AssertionError(f"no end after {limit} tokens: {text_of(ids, vocabulary)!r}")


def text_of(ids: list[int], vocabulary: Vocabulary) -> str:
    return b"".join(vocabulary.pieces[i] for i in ids).decode()


def follows(compiled: CompiledGrammar, text: str, vocabulary: Vocabulary) -> bool:
    """Whether a text, byte by byte, is a whole answer. The vocabulary must hold every byte."""
    of_byte = {piece[0]: i for i, piece in enumerate(vocabulary.pieces) if len(piece) == 1}
    grammar = compiled.start()
    ids = [of_byte[b] for b in text.encode()]
    return grammar.accept(ids) == len(ids) and vocabulary.eos_ids[0] in allowed(grammar, vocabulary)


def obj(properties: Json, *, required: list[str] | None = None, **more: Any) -> Json:
    wanted = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": wanted, "additionalProperties": False, **more}


TEXT = {"type": "string", "maxLength": 12}
INT = {"type": "integer"}

SCHEMAS: dict[str, Any] = {
    "string": TEXT,
    "integer": INT,
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "types": {"type": ["string", "null", "boolean"], "maxLength": 5},
    "anything": {},
    "true": True,
    "object": {"type": "object"},
    "flat": obj({"name": TEXT, "age": {"type": "integer", "minimum": 0, "maximum": 150}}),
    "optional": obj({"a": TEXT, "b": INT, "c": {"type": "boolean"}}, required=["b"]),
    "nested": obj({"a": obj({"b": obj({"c": obj({"d": INT})})}), "e": {"type": "array", "items": TEXT}}),
    "map": {"type": "object", "additionalProperties": INT, "maxProperties": 3},
    "open": {"type": "object", "properties": {"kind": {"const": "x"}}, "required": ["kind"]},
    "pattern keys": {"type": "object", "patternProperties": {"^k[0-9]$": INT}, "additionalProperties": False},
    "array": {"type": "array", "items": INT, "minItems": 1, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [TEXT, INT, {"type": "null"}], "items": False, "minItems": 3},
    "matrix": {"type": "array", "maxItems": 3, "items": {"type": "array", "items": INT, "minItems": 2, "maxItems": 2}},
    "enum": {"enum": ["red", "green", 'a "quoted" \\ one', 17, None, {"x": [1]}, True]},
    "const": {"const": {"a": [1, 2.5, "z"], "b": None}},
    "unicode": obj({"Größe": {"enum": ["klein", "größer", "日本", "\U0001f600"]}, "naïve": TEXT}),
    "pattern": {"type": "string", "pattern": r"^[A-Z]{2}-\d{3,5}(/[a-z]+)?$"},
    "pattern inside": {"type": "string", "pattern": "b[0-9]", "maxLength": 20},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 6},
    "date-time": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
    "email": {"type": "string", "format": "email"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "bounds": {"type": "integer", "minimum": -17, "exclusiveMaximum": 300},
    "number bounds": {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1000},
    "anyOf": {"anyOf": [TEXT, INT, obj({"k": {"const": "n"}, "v": INT})]},
    "oneOf": {"oneOf": [obj({"t": {"const": "a"}, "x": INT}), obj({"t": {"const": "b"}, "y": TEXT})]},
    "allOf": {"allOf": [{"type": "object", "properties": {"a": INT}, "required": ["a"]}, {"properties": {"b": INT}}]},
    "ref": {
        "$defs": {"P": obj({"x": INT, "y": INT})},
        **obj({"from": {"$ref": "#/$defs/P"}, "to": {"$ref": "#/$defs/P"}}),
    },
    "definitions": {"definitions": {"T": TEXT}, "type": "array", "items": {"$ref": "#/definitions/T"}, "maxItems": 2},
    "tree": {
        "$defs": {"N": obj({"v": INT, "c": {"type": "array", "items": {"$ref": "#/$defs/N"}, "maxItems": 2}})},
        "$ref": "#/$defs/N",
    },
    "linked": {
        "$ref": "#/$defs/L",
        "$defs": {"L": {"anyOf": [{"type": "null"}, obj({"next": {"$ref": "#/$defs/L"}})]}},
    },
    "annotated": {"title": "T", "description": "d", "default": "x", "examples": ["y"], **TEXT},
}
