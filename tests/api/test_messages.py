"""Anthropic's messages with the official client, against a real server with the bundled model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import beta_tool
from pydantic import BaseModel

from servers import RunningServer, run_server

KEY = "secret"
MODEL = "claude-opus-4-8"  # an alias: what agents ask for by default
USER: list[Any] = [{"role": "user", "content": "What is Penstock?"}]
WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
SUM: list[Any] = [{"role": "user", "content": "What is 2+3?"}]
GREEDY = {"temperature": 0}
TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "cache_control": {"type": "ephemeral"},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ("--reasoning-parser", "auto", "--served-model-name", "tiny", MODEL, "--api-key", KEY)
    with run_server(*options, log=tmp_path_factory.mktemp("messages") / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def client(served: RunningServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=served.url, api_key=KEY, max_retries=0, timeout=60)


def whole_and_streamed(client: anthropic.Anthropic, **fields: Any) -> anthropic.types.Message:
    """The answer to a request, which is the same as a stream."""
    fields = {"model": MODEL, "max_tokens": 120, "messages": USER, "extra_body": GREEDY, **fields}
    whole = client.messages.create(**fields)
    with client.messages.stream(**fields) as stream:
        joined = stream.get_final_message()
    for message in (whole, joined):
        for block in message.content:
            if block.type == "tool_use":
                block.id = ""
    assert [b.to_dict() for b in joined.content] == [b.to_dict() for b in whole.content]
    assert (joined.stop_reason, joined.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
    assert joined.usage.output_tokens == whole.usage.output_tokens
    assert prompt_tokens(joined.usage) == prompt_tokens(whole.usage)
    return whole


def prompt_tokens(usage: anthropic.types.Usage) -> int:
    return usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)


def test_text(client: anthropic.Anthropic) -> None:
    message = whole_and_streamed(client)
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert message.content[0].type == "text"
    assert "engine" in message.content[0].text
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    counted = client.messages.count_tokens(model=MODEL, messages=USER)
    assert counted.input_tokens == prompt_tokens(message.usage)


def test_system_blocks_and_turns_in_parts_read_as_one_text(client: anthropic.Anthropic) -> None:
    plain = client.messages.create(model=MODEL, max_tokens=30, system="Be brief.", messages=USER, extra_body=GREEDY)
    system: list[Any] = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=0123;"},
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    parts: list[Any] = [
        {"role": "user", "content": [{"type": "text", "text": "What is ", "citations": None}]},
        {"role": "user", "content": "Penstock?"},
    ]
    other = client.beta.messages.create(
        model=MODEL, max_tokens=30, system=system, messages=parts, betas=["a-beta-2026-01-01"], extra_body=GREEDY
    )
    assert other.content[0].to_dict() == plain.content[0].to_dict()
    assert prompt_tokens(plain.usage) == other.usage.input_tokens + (other.usage.cache_read_input_tokens or 0)


def test_a_prefill_is_continued(client: anthropic.Anthropic) -> None:
    message = whole_and_streamed(client, messages=[*USER, {"role": "assistant", "content": "Penstock is an"}])
    assert message.content[0].type == "text"
    assert message.content[0].text.startswith(" engine")


def test_why_an_answer_stops(client: anthropic.Anthropic) -> None:
    cut = whole_and_streamed(client, max_tokens=5)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 5)
    stopped = whole_and_streamed(client, stop_sequences=["xyz", " large"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " large")
    assert stopped.content[0].type == "text"
    assert stopped.content[0].text.endswith("runs")
    roomy = client.messages.create(model=MODEL, max_tokens=20_000, messages=USER, extra_body=GREEDY)
    assert roomy.stop_reason == "end_turn"  # an agent may ask for more than the model has


def test_a_tool_is_called_and_answers(client: anthropic.Anthropic) -> None:
    tools: list[Any] = [TOOL, {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]
    message = whole_and_streamed(client, messages=WEATHER, tools=tools)
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
    call.id = "toolu_1"
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "18 degrees, sunny"}],
    }
    turns = [*WEATHER, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = whole_and_streamed(client, messages=turns, tools=tools)
    assert answer.stop_reason == "end_turn"
    assert answer.content[0].type == "text"
    counted = client.messages.count_tokens(model=MODEL, messages=turns, tools=tools)
    assert counted.input_tokens == prompt_tokens(answer.usage)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_forced_call_fits_its_schema(client: anthropic.Anthropic, choice: dict[str, Any]) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Oslo", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    tools: list[Any] = [{"name": "get_weather", "input_schema": schema}]
    choice = {**choice, "disable_parallel_tool_use": True}
    message = whole_and_streamed(client, messages=WEATHER, tools=tools, tool_choice=choice)
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert call.input in ({"city": "Oslo"}, {"city": "Rome"})


def test_no_call_where_none_is_wanted(client: anthropic.Anthropic) -> None:
    message = whole_and_streamed(client, messages=WEATHER, tools=[TOOL], tool_choice={"type": "none"}, max_tokens=20)
    assert {b.type for b in message.content} == {"text"}


def test_thinking_is_told_and_taken_back(client: anthropic.Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    message = whole_and_streamed(client, messages=SUM, thinking=thinking, max_tokens=1100)
    thought, text = message.content
    assert thought.type == "thinking"
    assert thought.thinking
    assert thought.signature
    assert text.type == "text"
    assert "5" in text.text
    assert message.usage.output_tokens_details is not None
    assert 0 < message.usage.output_tokens_details.thinking_tokens < message.usage.output_tokens
    turns: list[Any] = [
        *SUM,
        {"role": "assistant", "content": [*message.content, {"type": "redacted_thinking", "data": "AAAA"}]},
        {"role": "user", "content": "What is 1+1?"},
    ]
    again = whole_and_streamed(client, messages=turns, thinking={"type": "disabled"})
    assert {b.type for b in again.content} == {"text"}


def test_thinking_can_be_hidden(client: anthropic.Anthropic) -> None:
    shown = client.messages.create(
        model=MODEL, max_tokens=99, messages=SUM, thinking={"type": "adaptive"}, extra_body=GREEDY
    )
    hidden = whole_and_streamed(client, messages=SUM, thinking={"type": "adaptive", "display": "omitted"})
    assert hidden.content[0].type == "thinking"
    assert hidden.content[0].thinking == ""
    assert shown.content[0].type == "thinking"
    assert hidden.content[0].signature == shown.content[0].signature
    assert hidden.content[1].to_dict() == shown.content[1].to_dict()


class City(BaseModel):
    name: str
    people: int


def test_answers_in_a_schema(client: anthropic.Anthropic) -> None:
    ask: list[Any] = [{"role": "user", "content": "Name a city and how many people live there."}]
    parsed = client.messages.parse(
        model=MODEL, max_tokens=200, messages=ask, output_format=City, extra_body={"top_k": 1}
    )
    assert isinstance(parsed.parsed_output, City)
    with client.messages.stream(model=MODEL, max_tokens=200, messages=ask, output_format=City) as stream:
        assert isinstance(stream.get_final_message().parsed_output, City)


def test_a_schema_that_cannot_be_used(client: anthropic.Anthropic) -> None:
    form: Any = {"type": "json_schema", "schema": {"type": "nonsense"}}
    with pytest.raises(anthropic.BadRequestError) as e:
        client.messages.create(model=MODEL, max_tokens=5, messages=USER, output_config={"format": form})
    assert str(e.value.api_message).startswith("output_config.format.schema cannot be used")


def test_an_agent_runs_tools_until_it_is_done(client: anthropic.Anthropic) -> None:
    asked = []

    @beta_tool
    def get_weather(city: str) -> str:
        """Get the weather of a city"""
        asked.append(city)
        return "18 degrees, sunny"

    runner = client.beta.messages.tool_runner(
        model=MODEL,
        max_tokens=200,
        max_iterations=3,
        stream=True,
        system=[{"type": "text", "text": "You help.", "cache_control": {"type": "ephemeral"}}],
        messages=WEATHER,
        tools=[get_weather],
        metadata={"user_id": "me"},
        extra_body=GREEDY,
    )
    reasons = [stream.get_final_message().stop_reason for stream in runner]
    assert asked[0] == "Paris"
    assert reasons[0] == "tool_use"


def test_a_second_turn_reads_the_cache(client: anthropic.Anthropic) -> None:
    system = "You answer questions about Penstock. " * 40
    first = client.messages.create(model=MODEL, max_tokens=1, system=system, messages=USER)
    second = client.messages.create(model=MODEL, max_tokens=1, system=system, messages=USER)
    assert second.usage.cache_read_input_tokens
    assert prompt_tokens(second.usage) == prompt_tokens(first.usage)


def test_events_come_in_order(served: RunningServer) -> None:
    body = {"model": MODEL, "max_tokens": 6, "stream": True, "messages": USER}
    answer = httpx.post(served.url + "/v1/messages", json=body, headers={"x-api-key": KEY}, timeout=60)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, rest = answer.text.split("\n\n")
    assert rest == ""
    names = []
    for event in events:
        name, data = event.split("\n")
        names.append(name.removeprefix("event: "))
        assert json.loads(data.removeprefix("data: "))["type"] == names[-1]
    assert names[:3] == ["message_start", "ping", "content_block_start"]
    assert set(names[3:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_keys(served: RunningServer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bearer = anthropic.Anthropic(base_url=served.url, auth_token=KEY, max_retries=0)
    assert bearer.messages.create(model="tiny", max_tokens=1, messages=USER).model == "tiny"
    wrong = anthropic.Anthropic(base_url=served.url, api_key="wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as e:
        wrong.messages.create(model="tiny", max_tokens=1, messages=USER)
    assert e.value.type == "authentication_error"


def test_a_model_that_is_not_served(client: anthropic.Anthropic) -> None:
    for call in (client.messages.create, client.messages.count_tokens):
        fields: dict[str, Any] = {"model": "claude-other", "messages": USER}
        if call == client.messages.create:
            fields["max_tokens"] = 1
        with pytest.raises(anthropic.NotFoundError) as e:
            call(**fields)
        assert e.value.type == "not_found_error"
        assert "claude-other" in str(e.value.api_message)


def test_models_and_request_ids(client: anthropic.Anthropic) -> None:
    models = list(client.models.list())
    assert [m.id for m in models] == ["tiny", MODEL]
    model = client.models.retrieve(MODEL)
    assert (model.type, model.display_name) == ("model", MODEL)
    assert model.created_at.year > 2000
    fields: dict[str, Any] = {"model": MODEL, "max_tokens": 1, "messages": USER}
    message = client.messages.create(**fields)
    assert message.id == f"msg_{message._request_id}"
    named = client.messages.create(**fields, extra_headers={"X-Request-Id": "mine"})
    assert (named.id, named._request_id) == ("msg_mine", "mine")
    with pytest.raises(anthropic.BadRequestError) as e:
        client.messages.create(**{**fields, "max_tokens": 0})
    assert e.value.request_id
