"""Regular expressions, choices, grammars in both forms, structural tags: what they allow and what not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from structured_cases import INT, allowed, compile_for, follows, obj, text_of, walk

from penstock.structured.base import GrammarEngine, GrammarError
from penstock.structured.vocabulary import Vocabulary

REGEXES = [r"\d{3}-[a-f]+", r"^(yes|no)/maybe$", r"[^\s\"]{1,8}", r"(?i)abc|x\.y", r"ü+[\d\n]?", r"(a|b)*c{2,4}"]
ARITHMETIC = """
root  ::= expr           # a comment with "quotes" ::=
expr  ::= term (("+" | "-") term)*
term  ::= "(" expr ")" | number | name
number ::= [0-9]+ ("." [0-9]{1,2})?
name ::= [a-z]* "_"
"""
LIST = 'start: "[" (item ("," item)*)? "]"\nitem: NUMBER | start\nNUMBER: /[0-9]+/'


@pytest.mark.parametrize("pattern", REGEXES)
def test_regex(pattern: str, engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    compiled = compile_for(engine, regex=pattern)
    for seed in range(3):
        assert re.fullmatch(pattern, text_of(walk(compiled, vocabulary, seed), vocabulary))


def test_choice(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    choices = ["yes", "yes, but", 'say "no"\n', "a/b\\c", "日本"]
    compiled = compile_for(engine, choice=choices)
    said = {text_of(walk(compiled, vocabulary, seed), vocabulary) for seed in range(40)}
    assert said <= set(choices)
    assert len(said) >= 4


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        (ARITHMETIC, ["1", "(1+2.50)-x_", "((_))", "abc_"], ["", "1+", "(1", "1.234", "ab"]),
        ('root ::= [a-z]* "b" | "\\x41\\u00e9" .', ["b", "aabb", "A\u00e9!"], ["a", "A\u00e9"]),
        ('root ::= "x"{2,3} [^a-c\\]]? ws\nws ::= " "*', ["xx", "xxxd  "], ["x", "xxa", "xx]"]),
        ('root ::= "" | "(" root ")"', ["", "()", "((()))"], ["(", "())"]),
        (LIST, ["[]", "[1,[2,[]],33]"], ["[", "[1,]", "1"]),
        ('start: "a" b\nb: %json {"enum": [1, 2]}', ["a1"], ["a3"]),
    ],
)
def test_grammar(
    text: str, good: list[str], bad: list[str], byte_engine: GrammarEngine, byte_vocabulary: Vocabulary
) -> None:
    compiled = compile_for(byte_engine, grammar=text)
    assert [t for t in good if not follows(compiled, t, byte_vocabulary)] == []
    assert [t for t in bad if follows(compiled, t, byte_vocabulary)] == []


OLDER = {
    "structures": [
        {"begin": "<f=a>", "schema": obj({"x": INT}), "end": "</f>"},
        {"begin": "<f=b>", "schema": json.dumps(INT), "end": "</f>"},
        {"begin": "[call]", "schema": {"enum": ["q"]}, "end": ""},
    ],
    "triggers": ["<f=", "[call"],
}
THINK = {"type": "tag", "begin": "<think>", "content": {"type": "any_text", "excludes": ["<x>"]}, "end": "</think>"}
CALL = {"type": "tag", "begin": "<t>", "content": {"type": "json_schema", "json_schema": INT}, "end": ["</t>", "<eot>"]}


def newer(item: Any) -> dict[str, Any]:
    return {"type": "structural_tag", "format": item}


TAGS = [
    (
        OLDER,
        ["", "any < text <f", 'a <f=a>{"x": 1}</f> b <f=b>7</f>', '[call]"q" and [call]"q"'],
        ["<f=", "<f=c>", "<f=b>x</f>", '<f=a>{"x": 1}', "[call]q"],
    ),
    (
        newer({"type": "sequence", "elements": [THINK, {"type": "grammar", "grammar": 'root ::= "ok" | "no"'}]}),
        ["<think>a </thin </think>ok", "<think></think>no"],
        ["ok", "<think>", "<think>x</think>", "<think><x></think>ok"],
    ),
    (
        newer({"type": "sequence", "elements": [{"type": "any_text"}, {"type": "const_string", "value": "END"}]}),
        ["END", "some EN END"],
        ["END of it", "no end"],
    ),
    (
        newer({"type": "or", "elements": [{"type": "regex", "pattern": "[0-9]+"}, CALL]}),
        ["12", "<t>5</t>", "<t>5<eot>"],
        ["", "<t>5", "x"],
    ),
    (
        newer({"type": "tags_with_separator", "tags": [CALL], "separator": ", ", "at_least_one": True}),
        ["<t>5</t>", "<t>5</t>, <t>6</t>"],
        ["", "<t>5</t>,", "<t>5</t><t>6</t>"],
    ),
    (
        newer({"type": "triggered_tags", "triggers": ["<t"], "tags": [CALL], "at_least_one": True}),
        ["<t>5</t>", "well <t>5</t> so <t>6</t> there"],
        ["", "well", "well <t>x"],
    ),
    (
        newer({"type": "triggered_tags", "triggers": ["<t"], "tags": [CALL], "stop_after_first": True}),
        ["<t>5</t>", "hm <t>5</t>"],
        ["<t>5</t> more", "<t>5</t><t>5</t>"],
    ),
]


@pytest.mark.parametrize(("tag", "good", "bad"), TAGS, ids=range(len(TAGS)))
def test_structural_tag(
    tag: Any, good: list[str], bad: list[str], byte_engine: GrammarEngine, byte_vocabulary: Vocabulary
) -> None:
    compiled = compile_for(byte_engine, structural_tag=json.dumps(tag))
    assert [t for t in good if not follows(compiled, t, byte_vocabulary)] == []
    assert [t for t in bad if follows(compiled, t, byte_vocabulary)] == []


def test_xgrammar_agrees(engine: GrammarEngine, xgrammar: GrammarEngine, vocabulary: Vocabulary) -> None:
    """Both engines allow the same tokens, all along an answer."""
    for fields in ({"regex": r"\d{3}-[a-f]+"}, {"choice": ["yes", "no", "nope"]}, {"grammar": ARITHMETIC}):
        ours = compile_for(engine, **fields)
        mine, theirs = ours.start(), compile_for(xgrammar, **fields).start()
        for token_id in walk(ours, vocabulary, 3):
            assert allowed(mine, vocabulary) == allowed(theirs, vocabulary)
            assert mine.accept([token_id]) == theirs.accept([token_id]) == 1
        assert allowed(mine, vocabulary) == allowed(theirs, vocabulary)
        assert mine.done == theirs.done


def test_xgrammar_is_killed_when_it_compiles_too_long(xgrammar: GrammarEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_for(xgrammar, regex="a")  # the process is there
    monkeypatch.setattr("penstock.structured.xgrammar.COMPILE_TIMEOUT_S", 0.2)
    with pytest.raises(GrammarError, match="compile"):
        compile_for(xgrammar, json={"enum": [f"{i}-{i * 7919}" for i in range(9000)]})


MALFORMED = [
    ({"regex": "(("}, "unclosed"),
    ({"regex": "(?=a)b"}, "look-around"),
    ({"grammar": "root ::= x"}, "x, which is not defined"),
    ({"grammar": 'root ::= "a'}, "line 1: cannot read"),
    ({"grammar": 'root ::= ("a"'}, "parenthesis is not closed"),
    ({"grammar": 'root ::= "a")'}, "not opened"),
    ({"grammar": 'root ::= "a"\nroot ::= "b"'}, "defined twice"),
    ({"grammar": 'a ::= "a"'}, "named root"),
    ({"grammar": "root ::= [z-a]"}, "wrong way"),
    ({"grammar": "root ::= []"}, "matches nothing"),
    ({"grammar": "root ::= *"}, "nothing to repeat"),
    ({"grammar": 'start: "a" | nope'}, "nope"),
    ({"json": {"type": "objekt"}}, "objekt"),
    ({"json": {"type": "string", "format": "weird"}}, "weird"),
    ({"json": {"$ref": "https://example.org/schema"}}, "not present"),
    ({"json": "false"}, "."),
    ({"structural_tag": "{}"}, "format must be an object whose type"),
    ({"structural_tag": '{"structures": [], "triggers": []}'}, "structures must be"),
    ({"structural_tag": json.dumps(newer({"type": "token", "token": 1}))}, "token"),
    ({"structural_tag": json.dumps({**OLDER, "triggers": ["<g"]})}, "exactly one of the triggers"),
]


@pytest.mark.parametrize(("fields", "words"), MALFORMED)
def test_malformed(fields: dict[str, Any], words: str, byte_engine: GrammarEngine) -> None:
    with pytest.raises(GrammarError, match=words):
        compile_for(byte_engine, **fields)
