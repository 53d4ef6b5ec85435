"""What a hostile constraint can cost: a clear refusal, or little; never much time, and other answers nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from structured_cases import DEEP, INT, TEXT, allowed

from penstock.errors import ClientError
from penstock.params import StructuredOutputsParams
from penstock.structured import spec
from penstock.structured.base import GrammarEngine, GrammarError
from penstock.structured.check import ConstraintCheck
from penstock.structured.spec import GrammarSpec, spec_of
from penstock.structured.vocabulary import Vocabulary

Result = TypeVar("Result")


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = TEXT
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def doubling(keyword: str, depth: int) -> dict[str, Any]:
    definitions = {f"d{i}": {keyword: [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(depth)}
    return {"$defs": definitions | {f"d{depth}": TEXT}, "$ref": "#/$defs/d0"}


def chained(depth: int) -> dict[str, Any]:
    definitions = {f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(depth)}
    parts = {f"part{k}": {f"d{i}": definitions[f"d{i}"] for i in range(k, depth, 4)} for k in range(4)}
    text = json.dumps({"$defs": parts | {f"d{depth}": TEXT}, "$ref": "#/$defs/d0"})
    for i in range(depth):
        text = text.replace(f'"#/$defs/d{i}"', f'"#/$defs/part{i % 4}/d{i}"')
    schema: dict[str, Any] = json.loads(text)
    return schema


TOO_LARGE = [
    ({"json": nested(200)}, "deeper than 64"),
    ({"json": "[" * 100_000}, "not valid JSON"),
    ({"json": json.dumps({"enum": list(range(30_000))})}, "20000 values"),
    ({"json": {"enum": ["x" * 300_000]}}, "262144 characters"),
    ({"json": {"properties": {f"p{i}": {} for i in range(3000)}}}, "more than 2000 members"),
    ({"json": {"const": 10**400}}, "300 digits"),
    ({"json": {"const": float("nan")}}, "cannot be written as JSON"),
    ({"json": {"const": "\ud800"}}, "Unicode"),
    ({"json": '{"type": '}, "not valid JSON"),
    ({"json": ""}, "empty string"),
    ({"json": "[]"}, "must be a JSON schema"),
    ({"json_object": False}, "must be true"),
    ({"regex": ""}, "empty string"),
    ({"regex": "a\0b"}, "NUL"),
    ({"regex": "a" * 300_000}, "262144 characters"),
    ({"grammar": ""}, "empty string"),
    ({"choice": []}, "empty list"),
    ({"choice": ["a"] * 10_001}, "10000 strings"),
    ({"structural_tag": "[1]"}, "must be a JSON object"),
    ({"json_object": True, "whitespace_pattern": " " * 300}, "256 characters"),
]


@pytest.mark.parametrize(("fields", "words"), TOO_LARGE)
def test_refused_by_its_looks(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as error:
        spec_of(StructuredOutputsParams(**fields))
    assert error.value.param == "structured_outputs"
    assert next(iter(fields)) in str(error.value) or "whitespace_pattern" in fields


HOSTILE = {
    "enum of 9000": {"json": {"enum": [f"{i}-{i * 7919}" for i in range(9000)]}},
    "1000 optional members": {"json": {"type": "object", "properties": {f"p{i}": INT for i in range(1000)}}},
    "references that double": {"json": doubling("anyOf", 40)},
    "intersections that double": {"json": doubling("allOf", 40)},
    "itself": {"json": {"$ref": "#"}},
    "references in a chain": {"json": chained(4000)},
    "a million items": {"json": {"type": "array", "items": TEXT, "minItems": 10**6}},
    "a long string": {"json": {"const": "x" * 200_000}},
    "a long pattern": {"json": {"type": "string", "pattern": "^(x{1000}){1000}$"}},
    "nested repeats": {"regex": "((a{100}){100}){100}"},
    "a large automaton": {"regex": "[ab]*a[ab]{60}c"},
    "nested plus": {"regex": "((a+)+)+b"},
    "unicode classes": {"regex": r"(\p{L}{1,50} ?){1,500}"},
    "5000 parentheses": {"regex": "(" * 5000 + "a" + ")" * 5000},
    "ambiguous": {"grammar": 'start: e\ne: e e | "a" | e e e'},
    "rules that double": {
        "grammar": "start: r0\n" + "\n".join(f"r{i}: r{i + 1} r{i + 1}" for i in range(40)) + '\nr40: "a"'
    },
    "terminals that double": {
        "grammar": "root ::= t0\n" + "\n".join(f"t{i} ::= t{i + 1} t{i + 1}" for i in range(40)) + '\nt40 ::= "a"'
    },
    "many rules": {
        "grammar": "\n".join(f'r{i} ::= "x{i}" | r{i + 1}' for i in range(3000)) + '\nr3000 ::= "q"\nroot ::= r0'
    },
    "deep groups": {"grammar": "root ::= " + "(" * 4000 + '"a"' + ")" * 4000},
    "excludes": {
        "structural_tag": json.dumps({"format": {"type": "any_text", "excludes": [f"{i}x" for i in range(200)]}})
    },
}


@pytest.mark.parametrize("name", HOSTILE)
def test_cost(name: str, engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    """Measured as time of this thread: the machine may be busy. What is refused may be so when it is compiled or on
    the way."""
    costs: list[float] = []
    try:
        spec = spec_of(StructuredOutputsParams(**HOSTILE[name]))
        grammar = DEEP.submit(timed, costs, lambda: engine.compile(spec)).result().start()
        for _ in range(20):
            ids = timed(costs, lambda: allowed(grammar, vocabulary))
            if grammar.done:
                break
            grammar.accept([next((i for i in reversed(ids) if i not in vocabulary.eos_ids), ids[0])])
    except GrammarError as e:
        refusal = str(e)
    else:
        refusal = ""
    assert len(refusal) <= 300
    assert costs[0] < 2
    assert max(costs[1:], default=0.0) < 0.2


def timed(costs: list[float], work: Callable[[], Result]) -> Result:
    start = time.thread_time()
    try:
        return work()
    finally:
        costs.append(time.thread_time() - start)


def test_the_front_says_it_first() -> None:
    check = ConstraintCheck()
    good = StructuredOutputsParams(regex="a+")
    assert not check.known(good)
    check.check(good)
    assert check.known(StructuredOutputsParams(regex="a+"))
    assert not check.known(StructuredOutputsParams(choice=["a+"]))
    for fields in (
        {"regex": "a("},
        {"json": {"type": "x"}},
        {"grammar": "root ::= b"},
        HOSTILE["terminals that double"],
    ):
        with pytest.raises(ClientError, match=f"structured_outputs.{next(iter(fields))} cannot be used: ") as error:
            check.check(StructuredOutputsParams(**fields))
        assert error.value.status == 400
        assert error.value.param == "structured_outputs"


def test_keys() -> None:
    """What means the same is compiled once; what does not is told apart."""
    as_text = spec_of(StructuredOutputsParams(json='{ "type" : "string" }'))
    assert as_text == spec_of(StructuredOutputsParams(json={"type": "string"}))
    assert as_text != spec_of(StructuredOutputsParams(json={"type": "string"}, disable_any_whitespace=True))
    assert spec_of(StructuredOutputsParams(json={"a": 1, "b": 2})) != spec_of(
        StructuredOutputsParams(json={"b": 2, "a": 1})
    )
    assert spec_of(StructuredOutputsParams(regex="a")) != spec_of(StructuredOutputsParams(grammar="a"))
    assert spec.close_objects({"enum": [{"properties": {}, "type": 1}]}) == {"enum": [{"properties": {}, "type": 1}]}
    assert GrammarSpec("regex", "a", "") in {spec_of(StructuredOutputsParams(regex="a")): 1}
