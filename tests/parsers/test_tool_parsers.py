"""Every form of tool call: the messages that a corpus of answers is, however the answers are cut into pieces."""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parser_transcripts import FRAGMENTS, PARIS_ARGUMENTS, TOOLS, TRANSCRIPTS, Transcript, tool

from penstock.parsers.events import (
    ArgumentsDelta,
    ContentDelta,
    Event,
    Message,
    ReasoningDelta,
    ToolCallEnd,
    ToolCallStart,
    joined,
)
from penstock.parsers.registry import TOOL_PARSERS, load_plugin
from penstock.parsers.text_parser import TextParser
from penstock.parsers.tool.base import ToolParser

NAMES = TOOL_PARSERS.names()


def parser_of(name: str, tools: list | None = TOOLS) -> ToolParser:
    parser = TOOL_PARSERS.get(name)(tools)
    assert isinstance(parser, ToolParser)
    return parser


def streamed(parser: TextParser, pieces: Sequence[str]) -> list[Event]:
    events = [e for piece in pieces for e in parser.feed(piece)] + parser.finish()
    assert parser.finish() == []
    return events


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = [0, *sorted(places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(ends)]


def plain(message: Message) -> tuple[str | None, str | None, list[tuple[str, str]]]:
    """The message without ids."""
    return message.content, message.reasoning, [(c.name, c.arguments) for c in message.tool_calls]


def check_order(events: list[Event]) -> None:
    """Calls are numbered, begin once, end once and do not overlap; nothing is empty."""
    current, count = None, 0
    for event in events:
        match event:
            case ToolCallStart(index, call_id, name):
                assert current is None
                assert index == count
                assert call_id
                assert name
                current, count = index, count + 1
            case ArgumentsDelta(index, text):
                assert index == current
                assert text
            case ToolCallEnd(index):
                assert index == current
                current = None
            case ContentDelta(text) | ReasoningDelta(text):
                assert current is None
                assert text
    assert current is None


@pytest.mark.parametrize("case", TRANSCRIPTS, ids=str)
def test_the_message(case: Transcript) -> None:
    message = parser_of(case.parser, case.tools).parse(case.text)
    assert plain(message) == (case.content, case.reasoning, case.calls)
    if case.ids is not None:
        assert [c.id for c in message.tool_calls] == case.ids


@pytest.mark.parametrize("case", TRANSCRIPTS, ids=str)
def test_every_cut_into_two_and_every_character_alone(case: Transcript) -> None:
    cuts = [[i] for i in range(len(case.text) + 1)] if len(case.text) < 2000 else [[1000]]
    for places in [*cuts, range(len(case.text))]:
        events = streamed(parser_of(case.parser, case.tools), cut(case.text, places))
        check_order(events)
        assert plain(joined(events)) == (case.content, case.reasoning, case.calls), places


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_cuts_of_the_corpus(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(TRANSCRIPTS))
    places = data.draw(st.lists(st.integers(0, len(case.text)), max_size=12))
    events = streamed(parser_of(case.parser, case.tools), cut(case.text, places))
    assert plain(joined(events)) == (case.content, case.reasoning, case.calls)


SHORT = st.sampled_from([t for t in TRANSCRIPTS if len(t.text) < 600])
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([0, 1, 5, 30]), st.sampled_from([None, "", *FRAGMENTS])), max_size=3
)


def damaged(case: Transcript, changes: list[tuple[float, int, str | None]]) -> tuple[str, str]:
    """(parser, text): the answer with pieces missing, repeated (None), or replaced by marks of other forms."""
    text = case.text
    for place, length, new in changes:
        begin = int(place * len(text))
        old = text[begin : begin + length]
        text = text[:begin] + (old * 2 if new is None else new) + text[begin + len(old) :]
    return case.parser, text


SOUP = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


@settings(max_examples=250, deadline=None)
@given(
    case=st.one_of(st.builds(damaged, SHORT, CHANGES), st.tuples(st.sampled_from(NAMES), SOUP)),
    places=st.lists(st.integers(0, 250), max_size=8),
)
def test_any_text_gives_the_same_message_however_it_is_cut(case: tuple[str, str], places: list[int]) -> None:
    name, text = case
    whole = plain(parser_of(name, None).parse(text))
    for pieces in (cut(text, [p for p in places if p < len(text)]), list(text)):
        events = streamed(parser_of(name, None), pieces)
        check_order(events)
        assert plain(joined(events)) == whole


@pytest.mark.parametrize("name", [n for n in NAMES if n != "openai"])
def test_text_without_a_call_is_content_to_the_letter(name: str) -> None:
    rng = random.Random(name)
    silent = re.compile(r"section_(begin|end)|calls(\u2581)(begin|end)")  # marks of sections are never content
    fragments = [f for f in FRAGMENTS if not silent.search(f)]
    without = 0
    for _ in range(400):
        text = "".join(rng.choices(fragments, k=rng.randrange(8)))
        message = parser_of(name, None).parse(text)
        if not message.tool_calls:
            without += 1
            assert message.content == text
    assert without > 50


@pytest.mark.parametrize("name", NAMES)
def test_content_is_not_held_back(name: str) -> None:
    parser = parser_of(name)
    fed, told = "", ""
    for word in ("So", " it", " is,", " said", " he;", " f(x)", " and", "\n", "more.", " End"):
        fed += word
        told += joined(parser.feed(word)).content or ""
        assert told == fed or word == "\n"  # a form of call may begin with a line


LONG_ARGUMENTS = {
    "hermes": ('<tool_call>{"name": "f", "arguments": {"text": "', '"}}</tool_call>'),
    "mistral": ('[TOOL_CALLS]f[ARGS]{"text": "', '"}'),
    "llama3_json": ('{"name": "f", "parameters": {"text": "', '"}}'),
    "jamba": ('<tool_calls>[{"name": "f", "arguments": {"text": "', '"}}]</tool_calls>'),
    "kimi_k2": ('<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"text": "', '"}<|tool_call_end|>'),
    "openai": ('<|channel|>commentary to=functions.f<|message|>{"text": "', '"}<|call|>'),
    "pythonic": ("[f(text='", "')]"),
    "qwen3_coder": ("<function=f><parameter=text>", "</parameter></function>"),
    "glm45": ("<tool_call>f\n<arg_key>text</arg_key><arg_value>", "</arg_value></tool_call>"),
}
STREAMING = sorted(set(LONG_ARGUMENTS) - {"pythonic"})


@pytest.mark.parametrize("name", STREAMING)
def test_arguments_are_streamed_as_they_come(name: str) -> None:
    begin, end = LONG_ARGUMENTS[name]
    parser = parser_of(name, [tool("f", text="string")])
    events = parser.feed(begin + "zero ")
    assert [e.name for e in events if isinstance(e, ToolCallStart)] == ["f"]
    for word in ("one ", "two ", "three "):
        assert parser.feed(word) == [ArgumentsDelta(0, word)]
    rest = parser.feed(end) + parser.finish()
    assert (
        joined([*events, ArgumentsDelta(0, "one two three "), *rest]).tool_calls[0].arguments
        == '{"text": "zero one two three "}'
    )


@pytest.mark.parametrize("name", sorted(LONG_ARGUMENTS))
def test_long_arguments_take_linear_time(name: str) -> None:
    begin, end = LONG_ARGUMENTS[name]
    tools = [tool("f", text="string")]

    def seconds(characters: int) -> float:
        body = ("words and {brackets} [1, 2] < 3 " * (characters // 32 + 1))[:characters]
        pieces = [begin, *(body[i : i + 4] for i in range(0, characters, 4)), end]
        before = time.process_time()
        message = joined(streamed(parser_of(name, tools), pieces))
        spent = time.process_time() - before
        assert json.loads(message.tool_calls[0].arguments) == {"text": body}
        return spent

    small = min(seconds(12_500) for _ in range(3))
    assert seconds(100_000) < 8 * 4 * small  # 8 times the text; a square would be 64 times


# Beginnings of calls that are none, such that each reaches as far as it can before that shows.
ATTEMPTS = {
    "hermes": '<tool_call>{"x": {',
    "mistral": "[TOOL_CALLS]f ",
    "granite": '<tool_call>["a',
    "llama3_json": '<|python_tag|>{"a": [',
    "pythonic": "\n[f(a",
    "qwen3_coder": "<tool_call>\n<function=",
    "glm45": "<tool_call>f\n<arg",
    "kimi_k2": "<|tool_call_begin|>x",
    "openai": "<|channel|>x",
}


@pytest.mark.parametrize("name", sorted(ATTEMPTS))
def test_many_attempts_at_a_call_take_bounded_time(name: str) -> None:
    text = ATTEMPTS[name] * (100_000 // len(ATTEMPTS[name]))
    before = time.process_time()
    whole = plain(parser_of(name, None).parse(text))
    assert plain(joined(streamed(parser_of(name, None), [text[i : i + 9] for i in range(0, len(text), 9)]))) == whole
    assert time.process_time() - before < 5


def test_ids() -> None:
    def ids(name: str, text: str) -> list[str]:
        return [c.id for c in parser_of(name).parse(text).tool_calls]

    call = '{"name": "now", "arguments": {}}'
    two = ids("hermes", f"<tool_call>{call}</tool_call>" * 2)
    assert len(set(two)) == 2
    assert all(re.fullmatch(r"chatcmpl-tool-[0-9a-f]{32}", i) for i in two)
    assert all(re.fullmatch(r"[A-Za-z0-9]{9}", i) for i in ids("mistral", f"[TOOL_CALLS][{call}, {call}]"))
    assert TOOL_PARSERS.get("kimi_k2").new_id("now", 2) == "functions.now:2"


def test_tools_may_be_given_flat_or_be_nonsense() -> None:
    text = "<function=f><parameter=a>1</parameter></function>"
    flat = [{"type": "function", "name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}}]
    assert parser_of("qwen3_coder", flat).parse(text).tool_calls[0].arguments == '{"a": 1}'
    for schema in (
        None,
        7,
        {"properties": 3},
        {"properties": {"a": 1}},
        {"properties": {"a": {"$ref": "#/x"}}},
        {"$defs": 1},
    ):
        nonsense = [{"function": {"name": "f", "parameters": schema}}, {"function": None}, {}]
        assert parser_of("qwen3_coder", nonsense).parse(text).tool_calls[0].arguments == '{"a": "1"}'


def test_references_in_schemas() -> None:
    parameters = {
        "properties": {"a": {"$ref": "#/$defs/A"}, "loop": {"$ref": "#/$defs/L"}},
        "$defs": {"A": {"oneOf": [{"const": 1}, {"type": "null"}]}, "L": {"$ref": "#/$defs/L"}},
    }
    tools = [{"function": {"name": "f", "parameters": parameters}}]
    text = "<function=f><parameter=a>1</parameter><parameter=loop>1</parameter></function>"
    assert parser_of("qwen3_coder", tools).parse(text).tool_calls[0].arguments == '{"a": 1, "loop": "1"}'


def test_a_plugin_adds_a_parser(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(TOOL_PARSERS, "_entries", dict(TOOL_PARSERS._entries))
    file = tmp_path / "mine.py"
    file.write_text(
        "from penstock.parsers.registry import register_tool_parser\n"
        "from penstock.parsers.tool.json_calls import MarkedJsonParser\n\n"
        "@register_tool_parser('mine')\n"
        "class Mine(MarkedJsonParser):\n"
        "    starts = ('CALL:',)\n"
    )
    load_plugin(str(file))
    case = Transcript("mine", f'CALL: {{"name": "get_weather", "arguments": {PARIS_ARGUMENTS}}}')
    message = parser_of(case.parser).parse(replace(case).text)
    assert plain(message) == (None, None, [("get_weather", PARIS_ARGUMENTS)])
