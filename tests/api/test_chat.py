"""POST /v1/chat/completions through the official client and raw HTTP, on a fake engine."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from api.fake_engine import SENTENCE
from api.fake_server import FakeServer

USER = [{"role": "user", "content": "Tell me."}]
CHAT = "/v1/chat/completions"


def post(fake: FakeServer, **fields: Any) -> Any:
    return fake.http.post(CHAT, json={"messages": USER, **fields})


def events(fake: FakeServer, path: str = CHAT, **fields: Any) -> list[Any]:
    """The data of a stream's events, parsed; the frame of every event is checked."""
    body = {"messages": USER, "stream": True, **fields}
    with fake.http.stream("POST", path, json=body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        text = b"".join(response.iter_bytes()).decode()
    assert text.endswith("data: [DONE]\n\n")
    frames = text.split("\n\n")[:-2]
    assert all(f.startswith("data: ") and "\n" not in f for f in frames)
    return [json.loads(f[6:]) for f in frames]


def test_the_official_client_gets_an_answer(fake: FakeServer) -> None:
    answer = fake.openai().chat.completions.create(model="fake", messages=USER)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == SENTENCE
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_official_client_streams(fake: FakeServer) -> None:
    stream = fake.openai().chat.completions.create(model="fake", messages=USER, stream=True)  # type: ignore[arg-type]
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == SENTENCE
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_every_member_of_the_answer_is_there(fake: FakeServer) -> None:
    answer = post(fake).json()
    assert set(answer) == {
        *("id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage"),
        *("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics"),
    }
    assert set(answer["choices"][0]) == {
        *("index", "message", "logprobs", "finish_reason", "stop_reason", "token_ids", "routed_experts")
    }
    message = answer["choices"][0]["message"]
    assert set(message) == {
        *("role", "content", "refusal", "annotations", "audio", "function_call", "reasoning", "reasoning_content")
    }
    assert answer["usage"]["prompt_tokens_details"] is None


def test_the_shape_of_a_stream(fake: FakeServer) -> None:
    first, *middle, last = events(fake, max_tokens=3)
    base = {"id", "object", "created", "model", "choices"}
    assert set(first) == base | {"prompt_token_ids", "prompt_text"}
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    for chunk in middle:
        assert set(chunk) == base
        assert set(chunk["choices"][0]) == {"index", "delta", "logprobs", "finish_reason", "token_ids"}
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["choices"][0]["stop_reason"] is None
    assert last["system_fingerprint"].startswith("penstock-")
    assert len({c["id"] for c in (first, *middle, last)}) == 1


def test_usage_ends_a_stream_when_asked_for(fake: FakeServer) -> None:
    chunks = events(fake, max_tokens=3, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert set(chunks[-1]["usage"]) == {"prompt_tokens", "total_tokens", "completion_tokens"}
    assert "system_fingerprint" in chunks[-1]
    assert not any("usage" in c for c in chunks[:-1])


def test_continuous_usage_stands_in_every_chunk(fake: FakeServer) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(fake, max_tokens=3, stream_options=options)
    assert [c["usage"]["completion_tokens"] for c in chunks] == [0, 1, 2, 3, 3]


def test_n_choices_each_have_a_role_and_an_end(fake: FakeServer) -> None:
    chunks = events(fake, n=3, temperature=1, max_tokens=2)
    assert [c["choices"][0]["index"] for c in chunks[:3]] == [0, 1, 2]
    assert all(c["choices"][0]["delta"]["role"] == "assistant" for c in chunks[:3])
    assert sum(c["choices"][0]["finish_reason"] == "length" for c in chunks) == 3
    answer = post(fake, n=2, temperature=1).json()
    assert [c["index"] for c in answer["choices"]] == [0, 1]
    assert answer["usage"]["completion_tokens"] == 2 * len(fake.engine.sentence)


def test_logprobs_hold_the_sampled_token_among_the_top(fake: FakeServer) -> None:
    answer = post(fake, logprobs=True, top_logprobs=3, max_tokens=4).json()
    content = answer["choices"][0]["logprobs"]["content"]
    assert len(content) == 4
    for entry in content:
        assert len(entry["top_logprobs"]) == 3
        assert entry["logprob"] in [t["logprob"] for t in entry["top_logprobs"] if t["token"] == entry["token"]]
        assert bytes(entry["bytes"]).decode() == entry["token"]
    streamed = [e for c in events(fake, logprobs=True, top_logprobs=3, max_tokens=4)[1:] for e in lp(c)]
    assert streamed == content


def lp(chunk: Any) -> list[Any]:
    logprobs = chunk["choices"][0]["logprobs"]
    return logprobs["content"] if logprobs else []


def test_token_ids_are_returned_when_asked_for(fake: FakeServer) -> None:
    answer = post(fake, return_token_ids=True, max_tokens=2).json()
    assert answer["choices"][0]["token_ids"] == fake.engine.sentence[:2]
    assert answer["prompt_token_ids"] == fake.engine.submitted[-1][0]
    first, *rest = events(fake, return_token_ids=True, max_tokens=2)
    assert first["prompt_token_ids"] == answer["prompt_token_ids"]
    assert [i for c in rest for i in c["choices"][0]["token_ids"]] == fake.engine.sentence[:2]


def test_tokens_as_token_ids(fake: FakeServer) -> None:
    answer = post(fake, logprobs=True, top_logprobs=1, max_tokens=1, return_tokens_as_token_ids=True).json()
    assert answer["choices"][0]["logprobs"]["content"][0]["token"] == f"token_id:{fake.engine.sentence[0]}"


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": None, "n": None, "tools": None, "stream": None, "temperature": None, "logit_bias": None},
        {"stop": [], "tools": [], "tool_choice": "none", "stop_token_ids": []},
        {"stop": ["x", None], "unknown_field": {"a": 1}, "user": "me", "response_format": {"type": "text"}},
        {"top_k": -1, "seed": -1, "best_of": 1, "parallel_tool_calls": True, "include_reasoning": True},
    ],
)
def test_nulls_empties_and_unknown_fields_are_accepted(fake: FakeServer, fields: dict[str, Any]) -> None:
    assert post(fake, **fields).status_code == 200


def test_parameters_reach_the_engine(fake: FakeServer) -> None:
    post(
        fake, temperature=0.5, top_p=0.9, top_k=7, min_p=0.1, seed=3, presence_penalty=0.1, frequency_penalty=0.2,
        repetition_penalty=1.1, stop="x", stop_token_ids=[5], ignore_eos=True, min_tokens=1, max_tokens=9,
        max_completion_tokens=4, logit_bias={"7": 500}, allowed_token_ids=[1, 2], bad_words=["no"], priority=4,
        cache_salt="salt", include_stop_str_in_output=True, skip_special_tokens=False,
    )  # fmt: skip
    _, params, options = fake.engine.submitted[-1]
    assert (params.temperature, params.top_p, params.top_k, params.min_p, params.seed) == (0.5, 0.9, 7, 0.1, 3)
    assert (params.presence_penalty, params.frequency_penalty, params.repetition_penalty) == (0.1, 0.2, 1.1)
    assert (params.stop, params.stop_token_ids, params.ignore_eos, params.min_tokens) == (["x"], [5], True, 1)
    assert (params.max_tokens, params.logit_bias, params.allowed_token_ids) == (4, {7: 100.0}, [1, 2])
    assert (params.bad_words, params.include_stop_str_in_output, params.skip_special_tokens) == (["no"], True, False)
    assert (options["priority"], options["cache_salt"]) == (4, "salt")


def test_the_template_sees_what_the_request_says(fake: FakeServer) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    assert post(fake, tools=[tool], tool_choice="none").status_code == 200
    assert "weather" in fake.engine.tokenizer.decode(fake.engine.submitted[-1][0], skip_special_tokens=False)
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert post(fake, messages=[{"role": "user", "content": parts}]).status_code == 200
    prompt = fake.engine.tokenizer.decode(fake.engine.submitted[-1][0])
    assert "one" in prompt
    assert "two" in prompt


def test_any_name_can_be_a_variable_of_the_template(fake: FakeServer) -> None:
    names = ("self", "source", "tools_", "range", "raise_exception", "")
    assert post(fake, chat_template_kwargs=dict.fromkeys(names, 1)).status_code == 200


def test_continue_the_final_message(fake: FakeServer) -> None:
    messages = [*USER, {"role": "assistant", "content": "It was"}]
    answer = post(fake, messages=messages, continue_final_message=True, add_generation_prompt=False, echo=True).json()
    assert answer["choices"][0]["message"]["content"] == "It was" + SENTENCE
    prompt = fake.engine.tokenizer.decode(fake.engine.submitted[-1][0], skip_special_tokens=False)
    assert prompt.endswith("It was")


BAD = [
    ({"messages": None}, "Bad Request", "body.messages"),
    ({"messages": [{"content": "x"}]}, "Bad Request", "body.messages.0.role"),
    ({"messages": []}, "BadRequestError", "messages"),
    ({"temperature": "hot"}, "Bad Request", "body.temperature"),
    ({"stop": [1]}, "Bad Request", "body.stop.0"),
    ({"seed": 2**63}, "Bad Request", "body.seed"),
    ({"max_tokens": 10**30}, "Bad Request", "body.max_tokens"),
    ({"temperature": -1}, "BadRequestError", "temperature"),
    ({"temperature": 2.5}, "BadRequestError", "temperature"),
    ({"top_p": 0}, "BadRequestError", "top_p"),
    ({"n": 0}, "BadRequestError", "n"),
    ({"n": 2, "temperature": 0}, "BadRequestError", "n"),
    ({"max_tokens": 0}, "BadRequestError", "max_tokens"),
    ({"max_tokens": 257}, "BadRequestError", "max_tokens"),
    ({"max_completion_tokens": 10**9}, "BadRequestError", "max_tokens"),
    ({"continue_final_message": True, "add_generation_prompt": True}, "BadRequestError", "continue_final_message"),
    ({"stop": [""]}, "BadRequestError", "stop"),
    ({"top_logprobs": 2}, "BadRequestError", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "BadRequestError", "logprobs"),
    ({"prompt_logprobs": 21}, "BadRequestError", "prompt_logprobs"),
    ({"stream_options": {"include_usage": True}}, "BadRequestError", "stream_options"),
    ({"logit_bias": {"x": 1}}, "BadRequestError", "logit_bias"),
    ({"tool_choice": "required"}, "BadRequestError", "tool_choice"),
    ({"response_format": {"type": "xml"}}, "BadRequestError", "response_format"),
    ({"response_format": {"type": "json_schema"}}, "BadRequestError", "response_format"),
    ({"guided_regex": "a", "guided_choice": ["b"]}, "BadRequestError", "guided_choice"),
    ({"structured_outputs": {"regexp": "a"}}, "BadRequestError", "structured_outputs"),
    ({"structured_outputs": {"regex": 1}}, "BadRequestError", "structured_outputs"),
    ({"chat_template": "{{ 1 }}"}, "BadRequestError", "chat_template"),
    ({"chat_template_kwargs": {"messages": []}}, "BadRequestError", "chat_template_kwargs"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "BadRequestError", "messages"),
    ({"cache_salt": "a/b"}, "BadRequestError", "cache_salt"),
    ({"messages": [{"role": "user", "content": "x " * 600}]}, "BadRequestError", "input_tokens"),
    ({"messages": [{"role": "user", "content": "x"}] * 500}, "BadRequestError", "input_tokens"),
    (
        {"messages": [{"role": "user", "content": "x"}] * 500 + [{"role": "user", "content": 5}]},
        "BadRequestError",
        "messages",
    ),
]


@pytest.mark.parametrize(("fields", "kind", "param"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_bad_input_is_a_400_that_names_the_parameter(
    fake: FakeServer, fields: dict[str, Any], kind: str, param: str
) -> None:
    for stream in (False, True):
        if "stream_options" in fields and stream:
            continue
        response = post(fake, stream=stream, **fields)
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["param"], error["code"]) == (kind, param, 400)
    assert not fake.engine.open


def test_an_unknown_model_is_a_404(fake: FakeServer) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist") as caught:
        fake.openai().chat.completions.create(model="other", messages=USER)  # type: ignore[arg-type]
    assert caught.value.param == "model"
    assert post(fake, model="fake-alias").json()["model"] == "fake-alias"


def test_an_error_after_the_first_byte_is_an_event(fake: FakeServer) -> None:
    fake.engine.fail_after = 3
    *_, last = events(fake)
    assert last["error"] == {
        "message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500
    }  # fmt: skip
    with pytest.raises(openai.APIError):
        list(fake.openai().chat.completions.create(model="fake", messages=USER, stream=True))  # type: ignore[arg-type]
    response = post(fake)
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"


def test_an_error_before_the_first_byte_is_a_plain_answer(fake: FakeServer) -> None:
    fake.engine.fail_after = 0
    response = post(fake, stream=True)
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "InternalServerError"
