"""Every form of reasoning: what is thought and what is said, however the answer is cut into pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parser_transcripts import FRAGMENTS

from penstock.parsers.events import ContentDelta, ReasoningDelta, joined
from penstock.parsers.reasoning.base import ReasoningParser
from penstock.parsers.registry import REASONING_PARSERS

Split = tuple[str | None, str | None]  # reasoning, content

ALONE: list[tuple[str, str, Split]] = [
    ("deepseek_r1", "<think>\nWhy?\n</think>\n\nSo.", ("\nWhy?\n", "\n\nSo.")),
    ("deepseek_r1", "\n<think>Why?</think>So.", ("Why?", "So.")),
    ("deepseek_r1", "Why?</think>So.", ("Why?", "So.")),
    ("deepseek_r1", "<think>Why", ("Why", None)),
    ("deepseek_r1", "Why </thin", ("Why </thin", None)),
    ("deepseek_r1", "<think></think>So.", (None, "So.")),
    ("deepseek_r1", "<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
    ("deepseek_r1", "", (None, "")),
    ("minimax_m2", "Why?</think>\nSo.", ("Why?", "\nSo.")),
    ("step3", "<think>Why?</think>So.", ("Why?", "So.")),
    ("seed_oss", "<seed:think>Why?</seed:think>So.", ("Why?", "So.")),
    ("qwen3", "<think>\nWhy?\n</think>\n\nSo.", ("\nWhy?\n", "\n\nSo.")),
    ("qwen3", "Why?</think>So.", ("Why?", "So.")),
    ("qwen3", "<think>Why", ("Why", None)),
    ("glm45", "\n<think>Why?</think>So.", ("Why?", "So.")),
    ("kimi_k2", "<think>Why?</think>So.", ("Why?", "So.")),
    ("deepseek_v3", "So.", (None, "So.")),
    ("mistral", "[THINK]Why [1]?[/THINK]So.", ("Why [1]?", "So.")),
    ("mistral", "So [THINK] it is", (None, "So [THINK] it is")),
    ("granite", "Here is my thought process:\nWhy?\nHere is my response:\nSo.", ("\nWhy?\n", "\nSo.")),
    ("granite", "Here's my thought process: Why? Here's my response: So.", (" Why? ", " So.")),
    ("granite", "Here is my cat.", (None, "Here is my cat.")),
    ("granite", "Here is my thought process: Why? Here", (" Why? Here", None)),
    ("hunyuan_a13b", "<think>\nWhy?\n</think>\n<answer>\nSo.\n</answer>", ("Why?", "So.")),
    ("hunyuan_a13b", "So.", (None, "So.")),
    (
        "openai_gptoss",
        "<|channel|>analysis<|message|>Why?<|end|><|start|>assistant<|channel|>final<|message|>So.",
        ("Why?", "So."),
    ),
    ("gpt_oss", "<|channel|>commentary to=functions.f<|message|>{}<|call|>", (None, "{}")),
    ("gpt_oss", "So.", (None, "So.")),
]

OFF = {"enable_thinking": False}
OPEN, CLOSED, BARE = (
    "user: hi <think>\nassistant: <think>\n",
    "assistant: <think>\n\n</think>\n\n",
    "<think>x</think>\nassistant:",
)
IN_CONTEXT: list[tuple[str, str, dict[str, Any], Split]] = [
    # The template opened the reasoning, closed it, or left it to the model.
    ("qwen3", "Why?</think>So.", {"prompt": OPEN}, ("Why?", "So.")),
    ("qwen3", "Why", {"prompt": OPEN}, ("Why", None)),
    ("qwen3", "<think>Why?</think>So.", {"prompt": OPEN}, ("Why?", "So.")),
    ("qwen3", "So.", {"prompt": CLOSED}, (None, "So.")),
    ("qwen3", "So.", {"prompt": BARE}, (None, "So.")),
    ("qwen3", "<think>Why?</think>So.", {"prompt": BARE}, ("Why?", "So.")),
    ("deepseek_r1", "So.", {"prompt": CLOSED}, (None, "So.")),
    ("deepseek_r1", "Why?</think>So.", {"prompt": BARE}, ("Why?", "So.")),
    ("deepseek_v3", "Why?</think>So.", {"prompt": OPEN}, ("Why?", "So.")),
    ("deepseek_v3", "So.", {"prompt": "tool: 7", "template_kwargs": {"thinking": True}}, (None, "So.")),
    # The switches.
    ("qwen3", "So.", {"template_kwargs": OFF}, (None, "So.")),
    ("qwen3", "So.", {"template_kwargs": OFF, "prompt": BARE}, (None, "So.")),
    ("glm45", "So.", {"template_kwargs": {"thinking": False}}, (None, "So.")),
    ("kimi_k2", "So.", {"template_kwargs": OFF}, (None, "So.")),
    ("deepseek_v3", "Why?</think>So.", {"template_kwargs": {"thinking": True}}, ("Why?", "So.")),
    ("deepseek_v3", "Why?</think>So.", {"template_kwargs": {"enable_thinking": True}}, ("Why?", "So.")),
    ("deepseek_r1", "Why?</think>So.", {"template_kwargs": OFF}, ("Why?", "So.")),
    # The answer continues a message.
    (
        "qwen3",
        "Why?</think>So.",
        {"prompt": BARE + "<think>\nWell, ", "final_text": "<think>\nWell, "},
        ("Why?", "So."),
    ),
    ("deepseek_r1", "So.", {"prompt": BARE, "final_text": "<think>Why?</think>And "}, (None, "So.")),
    ("qwen3", "So.", {"prompt": BARE + "And ", "final_text": "And "}, (None, "So.")),
    # A call ends the reasoning where the model leaves the end tag out, if the request has tools.
    ("qwen3", "<think>Hm <tool_call>{}", {"call_starts": ["<tool_call>"]}, ("Hm ", "<tool_call>{}")),
    ("qwen3", "<think>Hm <tool_call>{}", {}, ("Hm <tool_call>{}", None)),
    ("deepseek_r1", "<think>Hm <tool_call>{}", {"call_starts": ["<tool_call>"]}, ("Hm <tool_call>{}", None)),
]


def parser_of(name: str, context: dict[str, Any]) -> ReasoningParser:
    parser = REASONING_PARSERS.get(name)(**context)
    assert isinstance(parser, ReasoningParser)
    return parser


@pytest.mark.parametrize(("name", "text", "context", "split"), [*((n, t, {}, s) for n, t, s in ALONE), *IN_CONTEXT])
def test_the_split(name: str, text: str, context: dict[str, Any], split: Split) -> None:
    message = parser_of(name, context).parse(text)
    assert (message.reasoning, message.content) == split
    for pieces in (list(text), *([text[:i], text[i:]] for i in range(len(text)))):
        parser = parser_of(name, context)
        joint = joined([e for p in pieces for e in parser.feed(p)] + parser.finish())
        assert (joint.reasoning, joint.content) == split, pieces


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(REASONING_PARSERS.names()),
    text=st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
    context=st.fixed_dictionaries(
        {},
        optional={
            "prompt": st.sampled_from([OPEN, CLOSED, BARE]),
            "template_kwargs": st.just(OFF),
            "call_starts": st.just(["<tool_call>"]),
        },
    ),
    size=st.integers(1, 9),
)
def test_any_text_is_split_the_same_however_it_is_cut(name: str, text: str, context: dict[str, Any], size: int) -> None:
    whole = parser_of(name, context).parse(text)
    parser = parser_of(name, context)
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert joined([e for p in pieces for e in parser.feed(p)] + parser.finish()) == whole


@pytest.mark.parametrize("name", ["deepseek_r1", "qwen3", "glm45", "kimi_k2", "step3"])
def test_words_are_told_at_once(name: str) -> None:
    parser = parser_of(name, {})
    assert parser.feed("<think>") == []
    for word in ("Why", " 2 < 3", "?\n"):
        assert parser.feed(word) == [ReasoningDelta(word)]
        assert parser.thinking
    assert parser.feed("</think>") == []
    assert not parser.thinking
    assert parser.feed("So.") == [ContentDelta("So.")]
