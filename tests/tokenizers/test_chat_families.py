"""Templates of the well-known families render as transformers renders them, whatever the conversation."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jinja2
import pytest
import tokenizer_makers
import transformers
from chat_families import FAMILIES

from penstock.errors import ClientError
from penstock.tokenizers.chat_template import ChatTemplate

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "where, as \u00ab\u00fc\u00bb"},
        "days": {"type": "array", "items": {"type": "integer"}},
        "unit": {"type": "string", "enum": ["C", "F"]},
    },
    "required": ["city"],
}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather of a <city> & days", "parameters": PARAMETERS},
}
SYSTEM = {"role": "system", "content": "Be brief.\n"}
USER = {"role": "user", "content": "How is the weather in Z\u00fcrich? <b>&'\" \U0001f600"}
ANSWER = {"role": "assistant", "content": " <think>\nHm.\n</think>\n\nIt is fine. "}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Z\u00fcrich", "days": [1, 2], "x": None}},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "content": '{"t": 21.5}'}
CHATS: dict[str, list[Any]] = {
    "one question": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, ANSWER, {"role": "user", "content": "  And tomorrow?\n"}],
    "does not alternate": [USER, USER],
    "a call": [USER, CALL],
    "a call and its result": [SYSTEM, USER, CALL, RESULT],
    "after a call": [USER, CALL, RESULT, ANSWER, USER],
    "two results": [USER, CALL, RESULT, RESULT],
    "reasoning": [USER, {**ANSWER, "reasoning_content": "Thought.", "reasoning": "Thought."}, USER],
    "developer": [{"role": "developer", "content": "Be kind."}, USER],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"add_generation_prompt": False},
    "prompt": {"add_generation_prompt": True},
    "tools": {"add_generation_prompt": True, "tools": [TOOL, {**TOOL, "function": {"name": "f", "parameters": {}}}]},
    "documents": {"add_generation_prompt": True, "documents": [{"title": "T", "text": "a"}, {"text": "b"}]},
    "no thinking": {"add_generation_prompt": True, "enable_thinking": False, "reasoning_effort": "high"},
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tokenizer_makers.save(tokenizer_makers.byte_level(), tmp_path_factory.mktemp("families"))
    return transformers.AutoTokenizer.from_pretrained(folder)


def as_sent(chat: list[Any]) -> list[Any]:
    """As the API gets it: arguments are JSON text."""
    chat = copy.deepcopy(chat)
    for message in chat:
        for call in message.get("tool_calls", []):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return chat


def rendered_by(theirs: Any, source: str, chat: list[Any], options: dict[str, Any]) -> str | Exception:
    """A text, or what the template says about a chat that it cannot take."""
    try:
        return theirs.apply_chat_template(chat, chat_template=source, tokenize=False, **options)
    except (jinja2.TemplateError, TypeError) as e:
        return e


@pytest.mark.parametrize("family", FAMILIES)
def test_renders_as_transformers(theirs: Any, family: str) -> None:
    source = FAMILIES[family]
    ours = ChatTemplate(source, theirs.special_tokens_map)
    rendered = 0
    for name, chat in CHATS.items():
        for how, options in OPTIONS.items():
            expected = rendered_by(theirs, source, chat, options)
            if isinstance(expected, Exception):
                with pytest.raises(ClientError, match=re.escape(str(expected))):
                    ours.render(as_sent(chat), **options)
            else:
                rendered += 1
                assert ours.render(as_sent(chat), **options) == expected, (name, how)
    assert rendered >= 15


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_can_be_continued(theirs: Any, family: str) -> None:
    source = FAMILIES[family]
    chat = [SYSTEM, USER, {"role": "assistant", "content": "The weather is"}]
    expected = theirs.apply_chat_template(chat, chat_template=source, tokenize=False, continue_final_message=True)
    found = ChatTemplate(source, theirs.special_tokens_map).render(chat, None, False, True)
    assert found == expected
    assert found.endswith("The weather is")


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_of_text_are_text(theirs: Any, family: str) -> None:
    """Whichever form a template wants content in, a list of one text part says the same as the text."""
    ours = ChatTemplate(FAMILIES[family], theirs.special_tokens_map)
    parts = [{**SYSTEM, "content": [{"type": "text", "text": SYSTEM["content"]}]}, USER]
    assert ours.render(parts) == ours.render([SYSTEM, USER])
