"""Structured outputs over HTTP with the bundled model: response_format, structured_outputs, the guided_* fields."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import jsonschema
import openai
import pydantic
import pytest

from servers import RunningServer

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "maxLength": 20}, "sure": {"type": "boolean"}},
    "required": ["answer", "sure"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}
USER = [{"role": "user", "content": "What is Penstock?"}]


def chat(server: RunningServer, **fields: Any) -> httpx.Response:
    body = {"messages": USER, "max_tokens": 120, "seed": 3, **fields}
    return httpx.post(f"{server.openai_url}/chat/completions", json=body, timeout=60)


def content(server: RunningServer, **fields: Any) -> str:
    answer = chat(server, **fields)
    assert answer.status_code == 200, answer.text
    choice = answer.json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    return str(choice["message"]["content"])


def test_json_schema(server: RunningServer) -> None:
    for temperature in (0, 1):
        text = content(server, response_format=FORMAT, temperature=temperature)
        jsonschema.validate(json.loads(text), SCHEMA)


def test_a_stream_says_the_same(server: RunningServer) -> None:
    whole = content(server, response_format=FORMAT)
    body = {"messages": USER, "max_tokens": 120, "seed": 3, "response_format": FORMAT, "stream": True}
    with httpx.stream("POST", f"{server.openai_url}/chat/completions", json=body, timeout=60) as response:
        events = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
    assert "".join(json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events) == whole


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"guided_choice": ["one", "two"]}, ("one", "two")),
        ({"guided_regex": "[ab]"}, ("a", "b")),
        ({"guided_grammar": 'root ::= "x" | "y"'}, ("x", "y")),
        ({"guided_json": {"enum": [1, 2]}}, ("1", "2")),
        ({"guided_json": '{"const": [1, 2]}', "guided_whitespace_pattern": " "}, ("[1,2]",)),
        ({"structured_outputs": {"json": {"const": [1, 2]}, "disable_any_whitespace": True}}, ("[1,2]",)),
        ({"guided_json": {"const": [1, 2]}, "guided_decoding_backend": "xgrammar:no-fallback"}, ("[1,2]",)),
        ({"guided_choice": ["yes", "no"], "bad_words": ["yes", "no"]}, ("yes", "no")),
        ({"guided_choice": ["yes"], "allowed_token_ids": [5]}, ("yes",)),
        ({"structural_tag": {"format": {"type": "const_string", "value": "so"}}}, ("so",)),
        ({"structured_outputs": {"choice": ["no"]}, "response_format": {"type": "text"}}, ("no",)),
    ],
)
def test_other_fields(server: RunningServer, fields: dict[str, Any], said: tuple[str, ...]) -> None:
    assert content(server, **fields).translate({32: None, 10: None}) in said


def response_schema(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        (
            {"response_format": response_schema({"type": "objekt"})},
            "response_format",
            "response_format.json_schema.schema cannot be used: ",
        ),
        ({"guided_regex": "(("}, "guided_regex", "unclosed"),
        ({"guided_grammar": "root ::= x"}, "guided_grammar", "not defined"),
        ({"guided_json": {"enum": list(range(30_000))}}, "guided_json", "guided_json may hold 20000 values"),
        ({"structured_outputs": {"regex": "(("}}, "structured_outputs", "structured_outputs.regex cannot be used"),
        ({"structural_tag": "{}"}, "structural_tag", "format must be an object"),
    ],
)
def test_what_cannot_be_followed_is_named(
    server: RunningServer, fields: dict[str, Any], param: str, words: str
) -> None:
    for stream in (False, True):
        answer = chat(server, stream=stream, **fields)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert words in answer.json()["error"]["message"]


def test_options_of_older_clients(server: RunningServer) -> None:
    fields = {"guided_json": {"const": [1, 2]}, "guided_decoding_backend": "guidance:disable-any-whitespace"}
    assert content(server, **fields) == "[1,2]"
    answer = chat(server, guided_regex="a", guided_decoding_backend="outlines:fast")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "guided_decoding_backend"


def test_completions_name_it_too(server: RunningServer) -> None:
    body = {"prompt": "a", "guided_regex": "(("}
    error = httpx.post(f"{server.openai_url}/completions", json=body, timeout=60).json()["error"]
    assert error["param"] == "guided_regex"
    body = {"prompt": "a", "guided_choice": ["b"]}
    answer = httpx.post(f"{server.openai_url}/completions", json=body, timeout=60).json()
    assert answer["choices"][0]["text"] == "b"


class Reply(pydantic.BaseModel):
    sure: bool
    kind: Literal["fact", "guess"]


def test_parse_and_stream_helpers(server: RunningServer) -> None:
    with openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0) as client:
        fields: dict[str, Any] = {"model": "penstock-tiny", "messages": USER, "temperature": 0, "max_tokens": 60}
        parsed = client.chat.completions.parse(response_format=Reply, **fields).choices[0].message.parsed
        assert isinstance(parsed, Reply)
        with client.chat.completions.stream(response_format=Reply, **fields) as stream:
            snapshots = [e.parsed for e in stream if e.type == "content.delta"]
            assert stream.get_final_completion().choices[0].message.parsed == parsed
        assert len(snapshots) > 2


def test_where_nothing_is_allowed_the_request_is_at_fault(server: RunningServer) -> None:
    word = httpx.post(f"{server.url}/detokenize", json={"tokens": [1234]}, timeout=60).json()["prompt"]
    for stream in (False, True):
        answer = chat(server, allowed_token_ids=[1234], bad_words=[word], stream=stream)
        assert answer.status_code == 400
        assert "every token is forbidden" in answer.json()["error"]["message"]
