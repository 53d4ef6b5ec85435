"""Structured outputs over HTTP with the bundled model: response_format, structured_outputs, the guided_* fields."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
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
        ({"structured_outputs": {"choice": ["no"]}, "response_format": {"type": "text"}}, ("no",)),
    ],
)
def test_other_fields(server: RunningServer, fields: dict[str, Any], said: tuple[str, ...]) -> None:
    assert content(server, **fields).replace(" ", "") in said


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "objekt"}}}}, "objekt"),
        ({"guided_regex": "(("}, "unclosed"),
        ({"guided_grammar": "root ::= x"}, "not defined"),
        ({"guided_json": {"enum": list(range(30_000))}}, "20000 values"),
    ],
)
def test_what_cannot_be_followed(server: RunningServer, fields: dict[str, Any], words: str) -> None:
    for stream in (False, True):
        answer = chat(server, stream=stream, **fields)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "structured_outputs"
        assert words in answer.json()["error"]["message"]
