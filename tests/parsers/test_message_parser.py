"""The whole way from text to message: reasoning, then calls; forced calls; what a server chooses for a model."""

from __future__ import annotations

import re
from typing import Any

import pytest
from parser_transcripts import NOW, PARIS, PARIS_ARGUMENTS, TOOLS, deepseek

from penstock.errors import StartError
from penstock.parsers.detect import detect_reasoning_parser, detect_tool_parser
from penstock.parsers.events import ArgumentsDelta, Message, ToolCallStart, joined
from penstock.parsers.message import AnswerParsers, MessageParser
from penstock.parsers.registry import REASONING_PARSERS, TOOL_PARSERS, load_plugin
from penstock.tokenizers.tokenizer import Tokenizer
from servers import ROOT

QWEN = AnswerParsers("hermes", "qwen3")
QWEN_PLAIN = AnswerParsers("hermes", "qwen3", unwritable=["<tool_call>"])  # forced calls are plain JSON
BARE = "<|im_start|>assistant\n"
CALL = f"<tool_call>\n{PARIS}\n</tool_call>"
NAMED = {"type": "function", "function": {"name": "get_weather"}}

Expected = tuple[str | None, str | None, list[tuple[str, str]]]
PARIS_CALL, NOW_CALL = ("get_weather", PARIS_ARGUMENTS), ("now", "{}")

ANSWERS: list[tuple[str, dict[str, Any], Expected]] = [
    (f"<think>\nHm.\n</think>\n\n{CALL}", {}, ("\nHm.\n", None, [PARIS_CALL])),
    (f"<think>\nHm.\n</think>\n\nI look.\n{CALL}", {}, ("\nHm.\n", "\n\nI look.\n", [PARIS_CALL])),
    ("<think>\nHm.\n</think>\n\nSo.", {}, ("\nHm.\n", "\n\nSo.", [])),
    (f"<think>\nHm.\n{CALL}", {}, ("\nHm.\n", None, [PARIS_CALL])),
    ("<think>\nHm.", {}, ("\nHm.", None, [])),
    (CALL, {"template_kwargs": {"enable_thinking": False}}, (None, None, [PARIS_CALL])),
    ("So.", {"template_kwargs": {"enable_thinking": False}}, (None, "So.", [])),
    ("Hm.</think>So.", {"prompt": BARE + "<think>\n"}, ("Hm.", "So.", [])),
    (f"<think>Hm.</think>{CALL}\n{CALL}", {"parallel_tool_calls": False}, ("Hm.", None, [PARIS_CALL])),
    (f"<think>Hm.</think>{CALL}", {"include_reasoning": False}, (None, None, [PARIS_CALL])),
    # Without tools, or with tools that must not be called, a call is text.
    (f"<think>Hm.</think>{CALL}", {"tools": None}, ("Hm.", CALL, [])),
    (f"<think>Hm.</think>{CALL}", {"tools": []}, ("Hm.", CALL, [])),
    (f"<think>Hm.</think>{CALL}", {"tool_choice": "none"}, ("Hm.", CALL, [])),
    # Forced calls: what comes after the reasoning is plain JSON.
    (
        f"[{PARIS.replace('arguments', 'parameters')}, {NOW}]",
        {"tool_choice": "required"},
        (None, None, [PARIS_CALL, NOW_CALL]),
    ),
    (f"<think>[]</think>\n\n[{PARIS}", {"tool_choice": "required"}, ("[]", None, [PARIS_CALL])),
    ('[{"name": "now", "parameters": {"a": [1', {"tool_choice": "required"}, (None, None, [("now", '{"a": [1')])),
    ("[]", {"tool_choice": "required"}, (None, "[]", [])),
    ("no", {"tool_choice": "required"}, (None, "no", [])),
    (f"\n{PARIS_ARGUMENTS}\n", {"tool_choice": NAMED}, (None, None, [PARIS_CALL])),
    (f"<think>Hm.</think>{PARIS_ARGUMENTS}", {"tool_choice": NAMED}, ("Hm.", None, [PARIS_CALL])),
    ('{"city": "Par', {"tool_choice": NAMED}, (None, None, [("get_weather", '{"city": "Par')])),
    ("", {"tool_choice": NAMED}, (None, None, [("get_weather", "")])),
]


def plain(message: Message) -> Expected:
    return message.reasoning, message.content, [(c.name, c.arguments) for c in message.tool_calls]


def made(request: dict[str, Any]) -> MessageParser:
    forced = request.get("tool_choice", "none") != "none"
    return (QWEN_PLAIN if forced else QWEN).for_answer(**{"tools": TOOLS, "prompt": BARE, **request})


@pytest.mark.parametrize(("text", "request_", "expected"), ANSWERS)
def test_the_message(text: str, request_: dict[str, Any], expected: Expected) -> None:
    assert plain(made(request_).parse(text)) == expected
    for pieces in (list(text), *([text[:i], text[i:]] for i in range(len(text)))):
        parser = made(request_)
        assert plain(joined([e for p in pieces for e in parser.feed(p)] + parser.finish())) == expected


def test_what_was_thought_is_known_while_it_streams() -> None:
    parser = made({})
    thinking = []
    for piece in ("<think>", "Hm", "</think>", "So"):
        parser.feed(piece)
        thinking.append(parser.thinking)
    assert thinking == [True, True, False, False]
    assert parser.calls == 0


def test_forced_arguments_are_streamed_with_ids_of_the_models_kind() -> None:
    kimi = AnswerParsers("kimi_k2", None).for_answer(tools=TOOLS, tool_choice=NAMED)
    assert kimi.feed("{") == [ToolCallStart(0, "functions.get_weather:0", "get_weather"), ArgumentsDelta(0, "{")]
    assert kimi.feed('"city"') == [ArgumentsDelta(0, '"city"')]
    mistral = AnswerParsers("mistral", None).for_answer(tools=TOOLS, tool_choice="required").parse(f"[{PARIS}]")
    assert re.fullmatch(r"[A-Za-z0-9]{9}", mistral.tool_calls[0].id)


@pytest.mark.parametrize("name", ["hermes", "longcat", "llama3_json"])
def test_a_form_that_grammars_write_is_what_its_parser_reads(name: str) -> None:
    parsers = AnswerParsers(name, None)
    form = parsers.call_form
    assert form is not None
    one = form.before + '"get_weather"' + form.between + PARIS_ARGUMENTS + form.after
    for choice in ("auto", "required", NAMED):
        message = parsers.for_answer(tools=TOOLS, tool_choice=choice).parse(one + form.separator + one)
        assert plain(message) == (None, None, [PARIS_CALL, PARIS_CALL])


HARMONY = (
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.now "
    "<|constrain|>json<|message|>{}<|call|>"
)


@pytest.mark.parametrize("reasoning", [None, "qwen3", "openai_gptoss"])
def test_harmony_is_one_form_for_both(reasoning: str | None) -> None:
    parsers = AnswerParsers("openai", reasoning)
    assert plain(parsers.for_answer(tools=TOOLS).parse(HARMONY)) == ("Hm.", None, [NOW_CALL])
    assert plain(parsers.for_answer().parse(HARMONY)) == ("Hm.", "{}", [])
    assert "<|channel|>" in parsers.markers(with_tools=False)


def test_no_parsers_at_all() -> None:
    parsers = AnswerParsers(None, None)
    assert plain(parsers.for_answer(tools=TOOLS).parse(CALL)) == (None, CALL, [])
    assert plain(parsers.for_answer().parse("")) == (None, "", [])
    assert parsers.markers(with_tools=True) == ()


def test_unknown_names_and_plugins_are_errors_that_say_so(tmp_path) -> None:
    with pytest.raises(StartError, match=r"unknown tool parser 'herms'; known: .*hermes"):
        AnswerParsers("herms", None)
    with pytest.raises(StartError, match=r"unknown reasoning parser 'r1'; known: .*deepseek_r1"):
        AnswerParsers(None, "r1")
    with pytest.raises(StartError, match="not a Python file"):
        load_plugin(str(tmp_path / "none.py"))
    (tmp_path / "bad.py").write_text("1 / 0")
    with pytest.raises(StartError, match="ZeroDivisionError"):
        load_plugin(str(tmp_path / "bad.py"))


# The marks in templates of well-known models: tool parser, reasoning parser, what the template says.
TEMPLATES: list[tuple[str | None, str | None, str]] = [
    ("hermes", None, '{{ \'<tool_call>\\n{"name": "\' + call.name + \'", "arguments": \' }}...</tool_call><|im_end|>'),
    (
        "hermes",
        "qwen3",
        "<tool_call>\\n{\"name\": ... {%- if enable_thinking is defined %}{{ '<think>\\n\\n</think>\\n\\n' }}",
    ),
    ("hermes", "deepseek_r1", "<tool_call> content.split('</think>') {{- '<|im_start|>assistant\\n<think>\\n' }}"),
    ("qwen3_coder", None, "<tool_call>\\n<function=' + name + '>\\n ... '<parameter=' + k + '>\\n'"),
    ("mistral", None, "[AVAILABLE_TOOLS] ... {{ '[TOOL_CALLS][' }}"),
    ("mistral", "mistral", "[SYSTEM_PROMPT] ... [THINK] ... [TOOL_CALLS] ... [ARGS]"),
    ("llama3_json", None, '<|start_header_id|>ipython ... <|python_tag|> ... {"name": function name, "parameters": }'),
    ("llama3_json", None, "<|start_header_id|>assistant<|end_header_id|> ... '\"parameters\": '"),
    ("llama4_pythonic", None, "<|header_start|>assistant<|header_end|> ... <|python_start|>"),
    (
        "llama4_pythonic",
        None,
        "<|header_start|>system ... Use exact format: [func_name1(param1=value1), func_name2(...)]",
    ),
    ("pythonic", None, '<|start_header_id|>system ... [func_name1(params_name1=params_value1...)] "parameters"'),
    ("granite", None, "<|start_of_role|>available_tools<|end_of_role|> ... <|tool_call|>"),
    ("granite", "granite", "<|start_of_role|>tools<|end_of_role|> <tool_call> Here is my thought process: ..."),
    ("hermes", None, '<|start_of_role|>system<|end_of_role|><tools> ... <tool_call>\\n{"name": </tool_call>'),
    ("granite-20b-fc", None, '<|function_call_library|> ... <function_call> {"name": '),
    ("internlm", None, "<|im_start|>system name=<|plugin|> ... <|action_start|><|plugin|>"),
    ("jamba", None, "<|bom|><|assistant|> ... <tool_calls>["),
    ("jamba", "hunyuan_a13b", "<tool_calls>[ ... <think>\\n\\n</think>\\n<answer>\\n"),
    (
        "deepseek_v3",
        None,
        "<\uff5cAssistant\uff5c>" + deepseek("tool calls begin") + deepseek("tool sep") + "\\n```json\\n",
    ),
    ("deepseek_v31", "deepseek_v3", "{% if thinking %}<\uff5cAssistant\uff5c></think>" + deepseek("tool sep")),
    ("deepseek_v32", None, "<\uff5cDSML\uff5cfunction_calls>"),
    ("kimi_k2", None, "<|tool_calls_section_begin|><|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>"),
    ("kimi_k2", "kimi_k2", "<think>{{rc}}</think> ... <|tool_call_begin|>{{ id }}<|tool_call_argument_begin|>"),
    ("glm45", "glm45", "[gMASK]<sop> ... <tool_call>{{ name }}\\n<arg_key> ... <think></think> enable_thinking"),
    ("openai", "openai_gptoss", "<|start|>assistant<|channel|>commentary to=functions. ... <|message|>"),
    ("minimax_m2", "qwen3", "<minimax:tool_call> ... <invoke name= ... </think>"),
    ("seed_oss", "seed_oss", "<seed:tool_call> <function= <parameter= ... <seed:think>"),
    ("lfm2", None, "<|tool_list_start|> ... <|tool_call_start|>["),
    ("phi4_mini_json", None, "prefix function calls with functools[...]"),
    (None, None, "{% for m in messages %}<|im_start|>{{ m.role }}\\n{{ m.content }}<|im_end|>{% endfor %}"),
]


@pytest.mark.parametrize(("tool", "reasoning", "template"), TEMPLATES)
def test_the_template_tells_the_form(tool: str | None, reasoning: str | None, template: str) -> None:
    assert detect_tool_parser(template) == tool
    assert detect_reasoning_parser(template) == reasoning
    parsers = AnswerParsers(template=template)
    assert parsers.tool is (TOOL_PARSERS.get(tool) if tool else None)
    assert parsers.reasoning is (REASONING_PARSERS.get(reasoning) if reasoning else None)


def test_special_tokens_tell_where_the_template_does_not() -> None:
    assert detect_tool_parser(None, ["<s>", "[TOOL_CALLS]"]) == "mistral"
    assert detect_tool_parser("{{ messages }}", ["<|python_tag|>"]) == "llama3_json"
    assert detect_tool_parser(None) is None


def test_the_bundled_model_needs_no_names() -> None:
    tokenizer = Tokenizer.from_folder(ROOT / "penstock" / "assets" / "tiny")
    assert isinstance(tokenizer.chat_template, str)
    parsers = AnswerParsers(template=tokenizer.chat_template, special_tokens=list(tokenizer.added_tokens.values()))
    assert parsers.tool is TOOL_PARSERS.get("hermes")
    assert parsers.reasoning is REASONING_PARSERS.get("qwen3")
    assert set(parsers.markers(with_tools=True)) == {"<tool_call>", "</tool_call>", "<think>", "</think>"}
