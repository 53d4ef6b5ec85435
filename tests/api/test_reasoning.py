"""Reasoning in chats: the bundled model thinks, a budget ends it, a grammar waits for it; a stub speaks other forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from api.fake_server import FakeServer, fake_server
from api.test_tools import MODEL, TIME, WEATHER, streamed, whole

from penstock.config.sections import ServerArgs
from penstock.parsers.message import AnswerParsers
from penstock.tokenizers.tokenizer import Tokenizer
from servers import ROOT, run_server

THINK = {"chat_template_kwargs": {"enable_thinking": True}}
ASK: list[Any] = [{"role": "user", "content": "What is 12 + 11?"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    log = tmp_path_factory.mktemp("reasoning") / "server.log"
    with (
        run_server("--reasoning-parser", "qwen3", log=log) as server,
        openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as made,
    ):
        yield made


def ask(client: openai.OpenAI, extra: dict[str, Any] | None = None, **fields: Any) -> Any:
    fields = {"model": MODEL, "messages": ASK, "temperature": 0, "max_tokens": 300, **fields}
    return client.chat.completions.create(**fields, extra_body={**THINK, **(extra or {})})


def reasoning_tokens(answer: Any) -> int:
    return answer.usage.completion_tokens_details.reasoning_tokens


def test_thoughts_are_apart_and_counted(client: openai.OpenAI) -> None:
    answer = ask(client)
    message = answer.choices[0].message
    assert len(message.reasoning) > 10
    assert message.reasoning_content == message.reasoning
    assert message.content.strip()
    assert "think>" not in message.content + message.reasoning
    assert 5 < reasoning_tokens(answer) < answer.usage.completion_tokens
    *chunks, usage = ask(client, stream=True, stream_options={"include_usage": True})
    deltas = [c.choices[0].delta for c in chunks]
    assert "".join(getattr(d, "reasoning", None) or "" for d in deltas) == message.reasoning
    assert "".join(getattr(d, "reasoning_content", None) or "" for d in deltas) == message.reasoning
    assert "".join(d.content or "" for d in deltas) == message.content
    assert usage.usage == answer.usage


def test_without_thinking_there_is_none(client: openai.OpenAI) -> None:
    for extra in ({"chat_template_kwargs": {"enable_thinking": False}}, {"chat_template_kwargs": {}}):
        answer = ask(client, extra)
        assert answer.choices[0].message.reasoning is None
        assert reasoning_tokens(answer) == 0
    hidden = ask(client, {"include_reasoning": False})
    assert hidden.choices[0].message.reasoning is None
    assert hidden.choices[0].message.content == ask(client).choices[0].message.content
    assert reasoning_tokens(hidden) > 5


@pytest.mark.parametrize("budget", [0, 5])
def test_a_budget_ends_the_thinking(client: openai.OpenAI, budget: int) -> None:
    answer = ask(client, {"thinking_token_budget": budget})
    message = answer.choices[0].message
    assert reasoning_tokens(answer) <= budget + 1  # and the token that begins it
    assert message.content.strip()
    assert answer.choices[0].finish_reason == "stop"
    if budget:
        assert ask(client).choices[0].message.reasoning.startswith(message.reasoning)
    assert ask(client, {"thinking_token_budget": 1000}).choices[0].message == ask(client).choices[0].message
    unthinking = {"chat_template_kwargs": {}}
    same = [ask(client, {**unthinking, **extra}).choices[0] for extra in ({}, {"thinking_token_budget": budget})]
    assert same[0] == same[1]


def test_a_grammar_waits_for_the_thoughts(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"sum": {"type": "integer", "maximum": 99}}, "required": ["sum"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    thoughts = ask(client).choices[0].message.reasoning
    for temperature in (0, 1):
        answer = ask(client, response_format=response_format, temperature=temperature, seed=3, n=1 + 2 * temperature)
        for choice in answer.choices:
            assert choice.finish_reason == "stop"
            assert choice.message.reasoning or temperature
            assert set(json.loads(choice.message.content)) == {"sum"}
    assert ask(client, response_format=response_format).choices[0].message.reasoning == thoughts
    short = ask(client, {"thinking_token_budget": 3}, response_format=response_format)
    assert set(json.loads(short.choices[0].message.content)) == {"sum"}


def test_a_forced_call_comes_after_the_thoughts(client: openai.OpenAI) -> None:
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    for choice in ("auto", "required", {"type": "function", "function": {"name": "get_time"}}):
        fields: dict[str, Any] = {"messages": question, "tools": [WEATHER, TIME], "tool_choice": choice}
        message = ask(client, **fields).choices[0].message
        (call,) = message.tool_calls
        assert json.loads(call.function.arguments)
        assert message.reasoning
        chunks = list(ask(client, stream=True, **fields))
        pieces = [d.function.arguments for c in chunks for d in c.choices[0].delta.tool_calls or ()]
        assert "".join(pieces) == call.function.arguments
        assert "".join(getattr(c.choices[0].delta, "reasoning", None) or "" for c in chunks) == message.reasoning


def test_thoughts_are_accepted_back(client: openai.OpenAI) -> None:
    message = ask(client).choices[0].message
    again = [*ASK, message.model_dump(exclude_none=True), {"role": "user", "content": "And 12 + 12?"}]
    assert ask(client, messages=again).choices[0].message.content


@pytest.mark.parametrize("budget", [-2, "many"])
def test_what_is_wrong_is_named(client: openai.OpenAI, budget: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="thinking_token_budget"):
        ask(client, {"thinking_token_budget": budget})


# Other forms, spoken by a stub

HARMONY = "<|channel|>"
FORMS = [
    ("deepseek_r1", "Hm.</think>So.", "Hm.", "So."),
    ("deepseek_r1", "<think>Hm.</think>So.", "Hm.", "So."),
    ("deepseek_r1", "Hm. It never ends", "Hm. It never ends", ""),
    ("qwen3", "<think>\nHm.\n</think>\n\nSo.", "\nHm.\n", "\n\nSo."),
    ("qwen3", "So.", "", "So."),
    ("granite", "Here is my thought process: Hm. Here is my response: So.", " Hm. ", " So."),
    ("glm45", "<think>Hm.</think>So.", "Hm.", "So."),
    ("mistral", "[THINK]Hm.[/THINK]So.", "Hm.", "So."),
    (
        "gpt_oss",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>So.",
        "Hm.",
        "So.",
    ),
]


@pytest.mark.parametrize(("parser", "text", "reasoning", "content"), FORMS)
def test_streams_think_what_whole_answers_think(
    fake: FakeServer, parser: str, text: str, reasoning: str, content: str
) -> None:
    service = fake.front.service
    before, service.parsers = service.parsers, AnswerParsers(None, parser)
    fake.engine.says(text)
    counts = set()
    try:
        expected = ({"reasoning": reasoning, "content": content, "calls": []}, "stop")
        for fake.engine.per_output in (1, 3, 100):
            assert whole(fake, **THINK) == expected
            assert streamed(fake, **THINK) == expected
            answer = fake.http.post("/v1/chat/completions", json={"messages": ASK, **THINK}).json()
            counts.add(answer["usage"]["completion_tokens_details"]["reasoning_tokens"])
            body = {"messages": ASK, "stream": True, "stream_options": {"include_usage": True}, **THINK}
            lines = fake.http.post("/v1/chat/completions", json=body).text.split("\n\n")
            usage = json.loads(lines[-3].removeprefix("data: "))["usage"]
            counts.add(usage["completion_tokens_details"]["reasoning_tokens"])
    finally:
        service.parsers = before
    assert len(counts) == 1
    assert (counts == {0}) is (not reasoning)


def test_no_parser_no_split() -> None:
    """As vLLM: without --reasoning-parser thoughts are content; --enable-reasoning finds the parser by the template."""
    for enable, content in ((False, "<think>Hm.</think>So."), (True, "So.")):
        with fake_server(ServerArgs(enable_reasoning=enable)) as fake:
            fake.engine.says("<think>Hm.</think>So.")
            assert whole(fake, **THINK)[0]["content"] == content
            answer = fake.http.post("/v1/chat/completions", json={"messages": ASK, "thinking_token_budget": 3})
            assert answer.status_code == (200 if enable else 400)


def test_effort_none_turns_thinking_off(fake: FakeServer) -> None:
    tokenizer = Tokenizer.from_folder(ROOT / "penstock" / "assets" / "tiny")
    prompts = []
    for fields in ({"reasoning_effort": "none"}, {"reasoning_effort": "none", **THINK}, {"reasoning_effort": "low"}):
        whole(fake, **fields)
        prompts.append(tokenizer.decode(fake.engine.submitted[-1][0], skip_special_tokens=False))
    assert ["</think>" in p for p in prompts] == [True, False, True]


def test_a_developer_is_a_system_where_the_template_knows_none(fake: FakeServer) -> None:
    ids = []
    for role in ("system", "developer"):
        fake.http.post("/v1/chat/completions", json={"messages": [{"role": role, "content": "Be brief."}, *ASK]})
        ids.append(fake.engine.submitted[-1][0])
    assert ids[0] == ids[1]
