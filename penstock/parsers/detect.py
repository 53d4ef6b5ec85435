"""Which form of calls and of reasoning a model was trained on, read from its chat template and special tokens.

A template writes earlier calls of the assistant in the model's own form; the marks of that form tell which it is. What
is found is the name of a parser, or None: then there is nothing in the template that one could go by.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_BAR, _SPACE = "\uff5c", "\u2581"

# In order: forms that share a mark with another come before it. All patterns of a line must be found.
_TOOL_MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("openai", (r"<\|channel\|>", r"<\|message\|>")),
    ("deepseek_v32", (rf"{_BAR}DSML{_BAR}",)),
    ("deepseek_v3", (rf"<{_BAR}tool{_SPACE}sep{_BAR}>", r"```json")),
    ("deepseek_v31", (rf"<{_BAR}tool{_SPACE}sep{_BAR}>",)),
    ("kimi_k2", (r"<\|tool_call_argument_begin\|>",)),
    ("minimax_m2", (r"<minimax:tool_call>",)),
    ("seed_oss", (r"<seed:tool_call>",)),
    ("longcat", (r"<longcat_tool_call>",)),
    ("glm45", (r"<arg_key>",)),
    ("qwen3_coder", (r"<function=", r"<parameter=")),
    ("mistral", (r"\[TOOL_CALLS\]",)),
    ("internlm", (r"<\|action_start\|>", r"<\|plugin\|>")),
    ("granite", (r"<\|tool_call\|>",)),
    ("granite-20b-fc", (r"<function_call>",)),
    ("lfm2", (r"<\|tool_call_start\|>",)),
    ("phi4_mini_json", (r"functools\[",)),
    ("phi4_mini_json", (r"<\|tool\|>", r"<\|/tool\|>")),
    ("jamba", (r"<tool_calls>",)),
    ("llama4_pythonic", (r"<\|python_start\|>",)),
    ("granite", (r"<\|start_of_role\|>(?:available_)?tools",)),
    ("hermes", (r"<tool_call>",)),
    ("llama4_pythonic", (r"<\|header_start\|>", r"\[func_name1\(")),
    ("pythonic", (r"\[func_name1\(",)),
    ("llama3_json", (r"<\|python_tag\|>",)),
    ("llama3_json", (r"<\|(?:start_header_id|header_start)\|>", r"\"parameters\"")),
)

_REASONING_MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("openai_gptoss", (r"<\|channel\|>", r"<\|message\|>")),
    ("seed_oss", (r"<seed:think>",)),
    ("mistral", (r"\[THINK\]",)),
    ("granite", (r"Here is my thought process",)),
    ("hunyuan_a13b", (r"</think>", r"<answer>")),
    ("kimi_k2", (r"</think>", r"<\|tool_call_argument_begin\|>")),
    ("deepseek_v3", (r"</think>", rf"<{_BAR}(?:Assistant|User){_BAR}>", r"\bthinking\b")),
    ("glm45", (r"</think>", r"<arg_key>")),
    ("qwen3", (r"</think>", r"enable_thinking")),
    ("deepseek_r1", (r"<think>(?:\\n|\s)*['\"]\s*-?[}%]",)),
    ("qwen3", (r"</think>",)),
)


def detect_tool_parser(template: str | None, special_tokens: Iterable[str] = ()) -> str | None:
    """Name of the tool parser for a model.

    Args:
        template: source of its chat template (of the one for tools, where it has several).
        special_tokens: texts of its added tokens. They are looked at if the template tells nothing.
    """
    return _detect(_TOOL_MARKS, template, special_tokens)


def detect_reasoning_parser(template: str | None, special_tokens: Iterable[str] = ()) -> str | None:
    """Name of the reasoning parser for a model; arguments as above."""
    return _detect(_REASONING_MARKS, template, special_tokens)


def _detect(
    marks: tuple[tuple[str, tuple[str, ...]], ...], template: str | None, special_tokens: Iterable[str]
) -> str | None:
    for text in (template or "", "\n".join(special_tokens)):
        for name, patterns in marks:
            if all(re.search(p, text) for p in patterns):
                return name
    return None
