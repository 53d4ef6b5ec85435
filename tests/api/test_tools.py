"""Tool calls in chats, through the official client: the bundled model calls tools; a stub speaks every other form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from api.fake_server import FakeServer, fake_server
from parser_transcripts import NOW, PARIS, TOOLS, TRANSCRIPTS

from penstock.config.sections import ServerArgs
from penstock.entrypoints.openai.api_server import serve_command
from penstock.parsers.message import AnswerParsers
from servers import RunningServer

MODEL = "penstock-tiny"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Get the weather in a city", "parameters": CITY},
}
TIME = {"type": "function", "function": {"name": "get_time", "description": "Get the time", "parameters": CITY}}
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
NAMED = {"type": "function", "function": {"name": "get_time"}}
CHAT = "/v1/chat/completions"


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as made:
        yield made


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    fields = {"model": MODEL, "messages": ASK, "tools": [WEATHER, TIME], "temperature": 0, "max_tokens": 100, **fields}
    return client.chat.completions.create(**fields)


# The bundled model


def test_the_model_calls_a_tool_and_uses_what_it_returns(client: openai.OpenAI) -> None:
    choice = ask(client).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.id.startswith("chatcmpl-tool-")
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    result = {"role": "tool", "tool_call_id": call.id, "content": '{"city": "Paris", "weather": "sunny"}'}
    answer = ask(client, messages=[*ASK, choice.message, result]).choices[0]
    assert answer.finish_reason == "stop"
    assert "Paris" in answer.message.content
    assert answer.message.tool_calls is None


@pytest.mark.parametrize("choice", ["auto", "required", NAMED])
def test_a_stream_makes_the_same_calls(client: openai.OpenAI, choice: Any) -> None:
    whole = ask(client, tool_choice=choice).choices[0]
    (call,) = whole.message.tool_calls
    assert call.function.name == ("get_time" if choice is NAMED else "get_weather")
    assert whole.finish_reason == ("stop" if choice is NAMED else "tool_calls")
    first, *middle, last = ask(client, tool_choice=choice, stream=True)
    assert first.choices[0].delta.role == "assistant"
    begin, *rest = [c.choices[0].delta.tool_calls[0] for c in middle if c.choices[0].delta.tool_calls]
    assert (begin.index, begin.type, begin.function.name, begin.function.arguments) == (
        *(0, "function", call.function.name, ""),
    )
    assert all(d.index == 0 and d.id is None and d.function.name is None for d in rest)
    assert rest
    assert "".join(d.function.arguments for d in rest) == call.function.arguments
    assert not any(c.choices[0].delta.content for c in middle)
    assert last.choices[0].finish_reason == whole.finish_reason
    assert last.choices[0].delta.tool_calls is None


def test_the_stream_helper(client: openai.OpenAI) -> None:
    helper = client.chat.completions.stream(
        model=MODEL, messages=ASK, tools=[WEATHER], temperature=0, max_tokens=100, tool_choice="required"
    )
    with helper as stream:
        done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
        final = stream.get_final_completion().choices[0]
    assert [(e.name, json.loads(e.arguments)) for e in done] == [("get_weather", {"city": "Paris"})]
    assert final.finish_reason == "tool_calls"
    assert final.message.tool_calls[0].function.name == "get_weather"


class Weather(pydantic.BaseModel):
    """Get the weather in a city"""

    city: str
    days: int


def test_strict_tools_are_parsed_into_their_models(client: openai.OpenAI) -> None:
    """The schema binds calls that the model makes by itself, too: it was never taught `days`."""
    tool = openai.pydantic_function_tool(Weather, name="get_weather")
    assert tool["function"]["strict"]
    for choice in ("auto", "required"):
        answer = client.chat.completions.parse(
            model=MODEL, messages=ASK, tools=[tool], temperature=0, max_tokens=100, tool_choice=choice
        )
        parsed = answer.choices[0].message.tool_calls[0].function.parsed_arguments
        assert isinstance(parsed, Weather)
        assert parsed.city == "Paris"


def test_forced_calls_are_valid_whatever_the_temperature(client: openai.OpenAI) -> None:
    number = {"type": "integer", "minimum": 1, "maximum": 9}
    schema = {"type": "object", "properties": {"n": number}, "required": ["n"], "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in ("pick", "choose")]
    named = {"type": "function", "function": {"name": "pick"}}
    for choice in ("required", named):
        answer = ask(client, tools=tools, tool_choice=choice, temperature=1.5, n=4, seed=1, parallel_tool_calls=False)
        for one in answer.choices:
            (call,) = one.message.tool_calls
            assert call.function.name == "pick" or choice == "required"
            assert json.loads(call.function.arguments)["n"] in range(1, 10)


def test_a_schema_for_the_content_leaves_the_model_its_tools(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"sunny": {"type": "boolean"}}, "required": ["sunny"]}
    response_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    message = ask(client, response_format=response_format).choices[0].message
    assert message.tool_calls[0].function.name == "get_weather"
    message = ask(client, response_format=response_format, tool_choice="none").choices[0].message
    assert json.loads(message.content) in ({"sunny": True}, {"sunny": False})


def test_a_choice_among_some_of_the_tools(client: openai.OpenAI) -> None:
    some: Any = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}
    assert ask(client, tool_choice=some).choices[0].message.tool_calls[0].function.name == "get_time"
    some["allowed_tools"] = {"mode": "required", "tools": [{"type": "function", "function": {"name": "no"}}]}
    with pytest.raises(openai.BadRequestError, match="allowed_tools"):
        ask(client, tool_choice=some)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tool_choice": "always"}, "tool_choice", "Invalid value for `tool_choice`: always!"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", "does not match any"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "`tools` must be set"),
        ({"tools": [{"type": "retrieval"}]}, "tools", "tools[0]"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools", "tools[0].function must have a name"),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "objekt"}}}]}
            | {"tool_choice": "required"},
            "tools",
            "objekt",
        ),
        ({"tool_choice": "required", "response_format": {"type": "json_object"}}, "tool_choice", "not both"),
    ],
)
def test_what_is_wrong_is_named(client: openai.OpenAI, fields: dict[str, Any], param: str, words: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as error:
            ask(client, stream=stream, **fields)
        assert error.value.param == param
        assert words in error.value.message


# Every form, spoken by a stub

SHORT = {"truncate_prompt_tokens": 10}  # the stub's context has no room for all tools


def streamed(fake: FakeServer, **fields: Any) -> tuple[dict[str, Any], str]:
    """A stream's message, joined, and its end."""
    message: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    finish = ""
    with fake.http.stream("POST", CHAT, json={"messages": ASK, "stream": True, **fields}) as response:
        lines = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    for line in lines:
        assert "error" not in line, line
        (choice,) = line["choices"]
        delta = choice["delta"]
        message["content"] += delta.get("content") or ""
        message["reasoning"] += delta.get("reasoning") or ""
        assert delta.get("reasoning") == delta.get("reasoning_content")
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(message["calls"])
                message["calls"].append((call["function"]["name"], []))
            message["calls"][call["index"]][1].append(call["function"]["arguments"])
        finish = choice["finish_reason"] or finish
    message["calls"] = [(name, "".join(pieces)) for name, pieces in message["calls"]]
    return message, finish


def whole(fake: FakeServer, **fields: Any) -> tuple[dict[str, Any], str]:
    answer = fake.http.post(CHAT, json={"messages": ASK, **fields})
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    said = choice["message"]
    assert said["reasoning"] == said["reasoning_content"]
    assert said.get("tool_calls") != []
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in said.get("tool_calls", ())]
    message = {"content": said["content"] or "", "reasoning": said["reasoning"] or "", "calls": calls}
    return message, choice["finish_reason"]


@pytest.mark.parametrize("parser", sorted({t.parser for t in TRANSCRIPTS}))
def test_streams_say_what_whole_answers_say(fake: FakeServer, parser: str) -> None:
    service = fake.front.service
    before, service.parsers = service.parsers, AnswerParsers(parser, None)
    try:
        for case in [t for t in TRANSCRIPTS if t.parser == parser and t.tools]:
            fake.engine.says(case.text)
            message = {"content": case.content or "", "reasoning": case.reasoning or "", "calls": case.calls}
            finish = "tool_calls" if case.calls else "stop"
            assert whole(fake, tools=case.tools, **SHORT) == (message, finish), case.text
            for fake.engine.per_output in (1, 3):
                assert streamed(fake, tools=case.tools, **SHORT) == (message, finish), case.text
    finally:
        service.parsers = before


def test_ids_and_logprobs_of_a_stream_are_all_there(fake: FakeServer) -> None:
    """Whatever text is held back, and also where several events come of one output."""
    fake.engine.says(f"Look: <tool_call>{PARIS}</tool_call>\n<tool_call>{NOW}</tool_call>")
    fields = {**SHORT, "tools": TOOLS, "logprobs": True, "return_token_ids": True, "stream": True}
    for fake.engine.per_output in (1, 7, 1000):
        with fake.http.stream("POST", CHAT, json={"messages": ASK, **fields}) as response:
            lines = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
        choices = [line["choices"][0] for line in lines[1:]]
        assert [i for c in choices for i in c["token_ids"]] == fake.engine.sentence
        logprobs = [entry for c in choices if c["logprobs"] for entry in c["logprobs"]["content"]]
        assert len(logprobs) == len(fake.engine.sentence)
        assert [c["finish_reason"] for c in choices if c["finish_reason"]] == ["tool_calls"]


def test_one_call_if_no_more_are_wanted(fake: FakeServer) -> None:
    fake.engine.says(f"<tool_call>{PARIS}</tool_call>\n<tool_call>{NOW}</tool_call>")
    assert len(whole(fake, tools=TOOLS, **SHORT)[0]["calls"]) == 2
    one = whole(fake, tools=TOOLS, **SHORT, parallel_tool_calls=False)
    assert len(one[0]["calls"]) == 1
    assert streamed(fake, tools=TOOLS, **SHORT, parallel_tool_calls=False) == one


def test_an_answer_that_is_cut_off_says_so(fake: FakeServer) -> None:
    fake.engine.says(f"<tool_call>{PARIS}</tool_call>")
    message, finish = whole(fake, tools=TOOLS, **SHORT, max_tokens=15)
    assert finish == "length"
    assert message["calls"][0][0] == "get_weather"
    assert streamed(fake, tools=TOOLS, **SHORT, max_tokens=15) == (message, finish)


# Options


def test_without_a_parser_only_forced_calls_work() -> None:
    with fake_server(ServerArgs(tool_call_parser="none")) as fake:
        fake.engine.says('[{"name": "now", "parameters": {}}]')
        assert whole(fake, tools=TOOLS, **SHORT, tool_choice="required") == (
            {"content": "", "reasoning": "", "calls": [("now", "{}")]},
            "tool_calls",
        )
        assert fake.engine.submitted[-1][1].structured_outputs is not None
        error = fake.http.post(CHAT, json={"messages": ASK, "tools": TOOLS}).json()["error"]
        assert error["param"] == "tool_choice"
        assert "--tool-call-parser" in error["message"]


PLUGIN = """
from penstock.parsers.registry import register_tool_parser
from penstock.parsers.tool.json_calls import MarkedJsonParser

@register_tool_parser("shouted")
class Shouted(MarkedJsonParser):
    starts = ("CALL", "<|im_start|>")
"""


def test_a_plugin(tmp_path: Path) -> None:
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    with fake_server(ServerArgs(tool_call_parser="shouted", tool_parser_plugin=str(file))) as fake:
        for marker in (
            "CALL",
            "<|im_start|>",
        ):  # the second one is a special token, and is read all the same
            fake.engine.says(f"{marker} {NOW}")
            assert whole(fake, tools=TOOLS, **SHORT)[0]["calls"] == [("now", "{}")]
            assert streamed(fake, tools=TOOLS, **SHORT)[0]["calls"] == [("now", "{}")]
            assert "im_start" not in whole(fake, **SHORT)[0]["content"]  # without tools it is hidden


def test_tools_that_may_not_be_called_can_be_kept_from_the_template() -> None:
    counts = []
    for hide in (False, True):
        with fake_server(ServerArgs(exclude_tools_when_tool_choice_none=hide)) as fake:
            whole(fake, tools=[WEATHER], tool_choice="none")
            counts.append(len(fake.engine.submitted[-1][0]))
    assert counts[0] > counts[1] + 20


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--tool-call-parser", "hermez"], "hermes"),
        (["--reasoning-parser", "thinking"], "deepseek_r1"),
        (["--tool-parser-plugin", "/nowhere.py"], "nowhere.py"),
        (["--enable-auto-tool-choice", "--tool-call-parser", "none"], "--tool-call-parser"),
    ],
)
def test_refused_at_the_start(options: list[str], word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert serve_command(options) == 1
    error = capfd.readouterr().err
    assert error.startswith("penstock: ")
    assert error.count("\n") == 1
    assert word in error
