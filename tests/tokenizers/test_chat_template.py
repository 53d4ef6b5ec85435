"""Chat templates render as transformers does, take messages in all forms, and cannot be made to hang or to explode."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tokenizer_makers
import transformers

from penstock.errors import ClientError, StartError, UnsupportedError
from penstock.tokenizers.chat_template import ChatTemplate, read_template_option
from penstock.tokenizers.tokenizer import Tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi <b> & 'you'"},
    {"role": "assistant", "content": "Hello  "},
]
PLAIN = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
PARTS = "{% for m in messages %}{% for p in m['content'] %}({{ p.text }}){% endfor %}{% endfor %}"
TOOLS = [{"type": "function", "function": {"name": "f", "description": "\u00e9 <x>", "parameters": {"b": 1, "a": [2]}}}]

SAME_AS_TRANSFORMERS = [
    PLAIN,
    "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
    "{% if tools %}{{ tools | tojson }}{{ tools | tojson(indent=2) }}{{ tools | tojson(sort_keys=true) }}{% endif %}",
    "{%- for m in messages %}\n    {%- if loop.index > 1 %}{% break %}{% endif %}\n    {{ m.content }}\n{%- endfor %}",
    "{% for m in messages %}\n    {% if m.role == 'system' %}{% continue %}{% endif %}\n{{ m.role }}\n{% endfor %}",
    "{% set s = namespace(n=0) %}{% for m in messages %}{% set s.n = s.n + m.content|length %}{% endfor %}{{ s.n }}",
    "{% macro f(m) %}<{{ m.role }}>{{ m.content | trim }}{% endmacro %}{% for m in messages %}{{ f(m) }}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{{ enable_thinking is defined and enable_thinking }}{{ documents }}",
    "{{ messages[0].content.split(' ')[-1].upper() ~ '%s-%d' % ('a', 3) ~ '{:>5}'.format(7) }}{{ 'a' * 3 }}",
]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tokenizer_makers.save(tokenizer_makers.byte_level(), tmp_path_factory.mktemp("chat"))
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("source", SAME_AS_TRANSFORMERS)
def test_renders_as_transformers(theirs: Any, source: str) -> None:
    for tools in (None, TOOLS):
        expected = theirs.apply_chat_template(
            CHAT, tools, chat_template=source, tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        ours = ChatTemplate(source, theirs.special_tokens_map, content_format="string")
        assert ours.render(CHAT, tools, True, enable_thinking=True) == expected


@pytest.mark.parametrize("last", ["Hello  ", "  Hello", "Hello"])
@pytest.mark.parametrize("source", [PLAIN, PLAIN.replace("m.content", "m.content|trim")])
def test_continuing_the_final_message_as_transformers(theirs: Any, source: str, last: str) -> None:
    chat = [*CHAT[:2], {"role": "assistant", "content": last}]
    expected = theirs.apply_chat_template(chat, chat_template=source, tokenize=False, continue_final_message=True)
    assert ChatTemplate(source).render(chat, None, False, True) == expected


def test_continue_needs_the_message_to_appear() -> None:
    template = ChatTemplate("{{ messages|length }}")
    with pytest.raises(ClientError, match="does not appear") as e:
        template.render(CHAT, None, False, True)
    assert e.value.param == "continue_final_message"
    with pytest.raises(ClientError, match="Cannot set both"):
        template.render(CHAT, None, True, True)


def test_the_bundled_template(bundled_model: Path) -> None:
    source = (bundled_model / "chat_template.jinja").read_text()
    chat: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "What is "}, {"type": "text", "text": "the time?"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "now", "arguments": '{"tz": "UTC"}'}}],
        },
        {"role": "tool", "content": "12:00"},
    ]
    text = ChatTemplate(source).render(chat, TOOLS, enable_thinking=True)
    assert "What is the time?" in text
    assert '<tool_call>\n{"name": "now", "arguments": {"tz": "UTC"}}\n</tool_call>' in text
    assert "<tool_response>\n12:00\n</tool_response>" in text
    assert json.dumps(TOOLS[0], ensure_ascii=False) in text
    assert text.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (PLAIN, False),
        (PARTS, True),
        ("{% for m in messages %}{% set c = m.content %}{% for p in c %}{{ p.text }}{% endfor %}{% endfor %}", True),
        ("{% macro r(c) %}{% for p in c %}{{ p.text }}{% endfor %}{% endmacro %}{{ r(messages[0].content) }}", True),
        ("{% for m in messages if m.content|selectattr('x')|list %}{% endfor %}{{ messages[0].content }}", False),
    ],
)
def test_content_comes_as_the_template_wants_it(source: str, parts: bool) -> None:
    chat = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}]}]
    probe = source + "{{ '|PARTS' if messages[0].content is not string else '|STRING' }}"
    assert ChatTemplate(probe).render(chat).endswith("|PARTS" if parts else "|STRING")
    assert ChatTemplate(probe, content_format="string").render(chat).endswith("|STRING")
    assert ChatTemplate(probe).replaced(content_format="openai").render(chat).endswith("|PARTS")


def test_parts_become_lines_of_a_string() -> None:
    chat = [{"role": "user", "content": [{"type": "text", "text": "a"}, "b", {"type": "refusal", "refusal": "c"}]}]
    assert ChatTemplate("{{ messages[0].content }}").render(chat) == "a\nb\nc"
    assert ChatTemplate(PARTS).render([{"role": "user", "content": "x"}]) == "(x)"


BAD_MESSAGES = [
    ([], "must not be empty"),
    ("hello", "must be a list"),
    ([{"content": "x"}], "with a role"),
    (["x"], "with a role"),
    ([{"role": "user", "content": 5}], "string or a list"),
    ([{"role": "user", "content": [7]}], r"content\[0\]"),
    ([{"role": "user", "content": [{"type": "text"}]}], "must have a string"),
    ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], "not valid JSON"),
    ([{"role": "assistant", "tool_calls": [{"id": "x"}]}], "with a function"),
]


@pytest.mark.parametrize(("messages", "says"), BAD_MESSAGES)
def test_bad_messages_are_named(messages: Any, says: str) -> None:
    with pytest.raises(ClientError, match=says) as e:
        ChatTemplate(PLAIN).render(messages)
    assert e.value.param == "messages"


def test_media_parts_are_not_supported() -> None:
    chat = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    with pytest.raises(UnsupportedError, match="image_url") as e:
        ChatTemplate(PLAIN).render(chat)
    assert e.value.param == "messages"


def test_what_the_template_raises_reaches_the_caller() -> None:
    with pytest.raises(ClientError, match=r"^roles must alternate$") as e:
        ChatTemplate("{{ raise_exception('roles must alternate') }}").render(CHAT)
    assert e.value.param == "messages"
    with pytest.raises(ClientError, match="no attribute 'nothing'"):
        ChatTemplate("{{ messages[0].nothing.at_all }}").render(CHAT)
    with pytest.raises(ClientError, match="line 1") as e:
        ChatTemplate("{% if %}").render(CHAT)
    assert e.value.param == "chat_template"
    with pytest.raises(ClientError, match="failed on these messages"):
        ChatTemplate("{{ 1 / 0 }}").render(CHAT)


def test_no_template_and_named_templates() -> None:
    with pytest.raises(ClientError, match="default chat template is no longer allowed") as e:
        ChatTemplate(None).render(CHAT)
    assert e.value.param == "chat_template"
    assert not ChatTemplate(None).exists
    named = ChatTemplate({"default": "D", "tool_use": "T"})
    assert (named.render(CHAT), named.render(CHAT, TOOLS), named.render(CHAT, [])) == ("D", "T", "D")
    assert named.replaced("R").render(CHAT, TOOLS) == "R"
    with pytest.raises(ClientError, match="none is the default"):
        ChatTemplate({"rag": "R"}).render(CHAT)


def test_variables_cannot_replace_the_messages() -> None:
    with pytest.raises(ClientError) as e:
        ChatTemplate(PLAIN).render(CHAT, chat_template_kwargs={"messages": []})
    assert e.value.param == "chat_template_kwargs"


HOSTILE = {
    "loop in a loop": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "long range": "{% for i in range(10**8) %}{% endfor %}",
    "repeated string": "{{ 'a' * 10**9 }}",
    "repeated list": "{{ ([1] * 10**9) | length }}",
    "doubling by ~": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling by +": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "power": "{{ 9 ** 99999999 }}",
    "product": "{% set n = namespace(x=9**999) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "centre": "{{ 'x' | center(10**9) }}",
    "ljust": "{{ 'x'.ljust(10**9) }}",
    "percent": "{{ '%1000000000d' % 3 }}",
    "format": "{{ '{:>1000000000}'.format(3) }}",
    "format filter": "{{ '%1000000000d' | format(3) }}",
    "nested format": "{{ '{:>{}}'.format(3, 10**9) }}",
    "replace": "{% set x = 'x' * 10**6 %}{{ x.replace('x', x) }}",
    "replace filter": "{% set x = 'x' * 10**6 %}{{ x | replace('x', x) }}",
    "join filter": "{{ (['x' * 10**6] * 1000) | join('ab') }}",
    "tabs": "{{ ('\t' * 10**6).expandtabs(10**6) }}",
    "translate": "{{ ('x' * 10**6).translate({120: 'y' * 10**6}) }}",
    "hoard": "{% set n = namespace(l=[]) %}{% for i in range(999) %}{% set n.l = n.l + ['a' * 10**6] %}{% endfor %}",
    "long work": "{% set x = 'ab ' * 10**6 %}{% for i in range(1000) %}{% if x.split() %}{% endif %}{% endfor %}",
    "join": "{{ 'ab'.join(['x' * 10**6] * 1000) }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "long output": "{% for i in range(1000) %}{{ 'a' * 10**6 }}{% endfor %}",
    "wide indent": "{{ messages | tojson(indent=10**9) }}",
    "self call": "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_templates_end_soon(name: str) -> None:
    start = time.process_time()
    with pytest.raises(ClientError):
        ChatTemplate(HOSTILE[name]).render(CHAT)
    assert time.process_time() - start < 3


def test_the_sandbox_holds() -> None:
    with pytest.raises(ClientError, match="unsafe"):
        ChatTemplate("{{ ''.__class__.__mro__ }}").render(CHAT)
    with pytest.raises(ClientError, match="unsafe"):
        ChatTemplate("{{ messages.append(1) }}").render(CHAT)
    with pytest.raises(ClientError, match="unsafe"):
        ChatTemplate("{{ messages[0].update({'role': 'x'}) }}").render(CHAT)


def test_output_and_source_are_limited() -> None:
    template = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")
    million = [{"role": "user", "content": "a" * (1 << 20)}]
    assert len(template.render(million * 8)) == 8 << 20
    with pytest.raises(ClientError, match="more than 8388608 characters"):
        template.render([*million * 8, *CHAT])
    with pytest.raises(ClientError, match="more than 262144 characters") as e:
        ChatTemplate("x" * ((1 << 18) + 1)).render(CHAT)
    assert e.value.param == "chat_template"


def test_template_option(tmp_path: Path) -> None:
    file = tmp_path / "t.jinja"
    file.write_text(PLAIN)
    assert read_template_option(str(file)) == PLAIN
    assert read_template_option(PLAIN) == PLAIN
    with pytest.raises(StartError, match="neither a readable file"):
        read_template_option(str(tmp_path / "none.jinja"))


def test_a_tokenizers_template_sees_its_special_tokens(tmp_path: Path) -> None:
    folder = tokenizer_makers.save(
        tokenizer_makers.byte_level(), tmp_path, chat_template="{{ bos_token }}|{{ pad_token }}"
    )
    tokenizer = Tokenizer.from_folder(folder)
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == "<|bos|>|"


def test_what_a_rendering_may_use_is_enough_for_the_longest_chats() -> None:
    source = (
        "{% for m in messages %}{% set c = m.content | trim %}"
        "{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>' + '\n' }}{% endfor %}"
    )
    long = [{"role": "user", "content": "word " * 200}] * 5000
    assert len(ChatTemplate(source).render(long)) > 5_000_000
