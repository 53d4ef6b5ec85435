"""POST /v1/completions through the official client and raw HTTP, on a fake engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api.fake_engine import SENTENCE
from api.fake_server import FakeServer
from api.test_chat import events as chat_events

PATH = "/v1/completions"


def post(fake: FakeServer, **fields: Any) -> Any:
    return fake.http.post(PATH, json=fields)


def events(fake: FakeServer, **fields: Any) -> list[Any]:
    return chat_events(fake, PATH, **fields)


def test_the_official_client_gets_an_answer(fake: FakeServer) -> None:
    answer = fake.openai().completions.create(model="fake", prompt="Say it:", max_tokens=100)
    assert answer.choices[0].text == SENTENCE
    assert (answer.object, answer.id[:5]) == ("text_completion", "cmpl-")
    stream = fake.openai().completions.create(model="fake", prompt="Say it:", max_tokens=100, stream=True)
    assert "".join(c.choices[0].text for c in stream) == SENTENCE


def test_every_member_of_the_answer_is_there(fake: FakeServer) -> None:
    answer = post(fake, prompt="a").json()
    assert set(answer) == {
        *("id", "object", "created", "model", "choices", "service_tier", "system_fingerprint", "usage"),
        *("kv_transfer_params", "ec_transfer_params", "metrics"),
    }
    assert set(answer["choices"][0]) == {
        *("index", "text", "logprobs", "finish_reason", "stop_reason", "token_ids", "prompt_logprobs"),
        *("prompt_token_ids", "routed_experts"),
    }
    assert answer["usage"]["completion_tokens"] == 16


def test_the_shape_of_a_stream(fake: FakeServer) -> None:
    *middle, last = events(fake, prompt="a", max_tokens=3)
    for chunk in middle:
        assert set(chunk) == {"id", "object", "created", "model", "choices"}
        assert set(chunk["choices"][0]) == {
            *("index", "text", "logprobs", "finish_reason", "stop_reason", "prompt_token_ids", "token_ids")
        }
    assert last["choices"][0]["finish_reason"] == "length"
    assert last["system_fingerprint"].startswith("penstock-")


@pytest.mark.parametrize(
    ("prompt", "count"),
    [("one", 1), (["one", "two", "three"], 3), ([5, 6, 7], 1), ([[5, 6], [7, 8, 9]], 2)],
    ids=["text", "texts", "ids", "id-lists"],
)
def test_the_four_shapes_of_a_prompt(fake: FakeServer, prompt: Any, count: int) -> None:
    answer = post(fake, prompt=prompt, n=2, temperature=1, max_tokens=2).json()
    assert [c["index"] for c in answer["choices"]] == list(range(2 * count))
    assert len(fake.engine.submitted) == count
    ids = [s[0] for s in fake.engine.submitted]
    if isinstance(prompt[0], list):
        assert ids == prompt
    if isinstance(prompt[0], int):
        assert ids == [prompt]
    assert answer["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert answer["usage"]["completion_tokens"] == 2 * 2 * count
    chunks = events(fake, prompt=prompt, n=2, temperature=1, max_tokens=2)
    texts = [""] * (2 * count)
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == [c["text"] for c in answer["choices"]]
    assert sum(c["choices"][0]["finish_reason"] is not None for c in chunks) == 2 * count
    assert not fake.engine.open


def test_prompts_are_scored_with_echo_and_no_tokens(fake: FakeServer) -> None:
    """What lm-eval sends: token ids, echo, logprobs, and max_tokens 0 or 1."""
    ids = fake.engine.sentence[:6]
    for max_tokens in (0, 1):
        answer = post(fake, prompt=[ids, ids[:4]], max_tokens=max_tokens, logprobs=1, echo=True, temperature=0).json()
        for choice, prompt in zip(answer["choices"], (ids, ids[:4]), strict=True):
            logprobs = choice["logprobs"]
            count = len(prompt) + max_tokens
            assert [len(v) for v in logprobs.values()] == [count] * 4
            assert logprobs["token_logprobs"][0] is None
            assert logprobs["top_logprobs"][0] is None
            for value, top in zip(logprobs["token_logprobs"][1:], logprobs["top_logprobs"][1:], strict=True):
                assert value == max(top.values())
            assert choice["text"].startswith(fake.engine.tokenizer.decode(prompt))
            assert logprobs["text_offset"][:3] == [0, len(logprobs["tokens"][0]), len("".join(logprobs["tokens"][:2]))]
        assert answer["usage"]["completion_tokens"] == 2 * max_tokens
        if max_tokens == 0:
            assert answer["choices"][0]["text"] == fake.engine.tokenizer.decode(ids)
            assert answer["choices"][0]["finish_reason"] == "length"


def test_streamed_logprobs_and_echo_are_those_of_the_whole(fake: FakeServer) -> None:
    fields: dict[str, Any] = {"prompt": "The quick", "max_tokens": 4, "logprobs": 2, "echo": True, "temperature": 0}
    whole = post(fake, **fields).json()["choices"][0]
    chunks = [c["choices"][0] for c in events(fake, **fields)]
    assert "".join(c["text"] for c in chunks) == whole["text"]
    assert whole["text"].startswith("The quick")
    for name, values in whole["logprobs"].items():
        assert [v for c in chunks for v in c["logprobs"][name]] == values


def test_prompt_logprobs(fake: FakeServer) -> None:
    ids = fake.engine.sentence[:4]
    choice = post(fake, prompt=ids, prompt_logprobs=2).json()["choices"][0]
    assert choice["prompt_logprobs"][0] is None
    for token_id, position in zip(ids[1:], choice["prompt_logprobs"][1:], strict=True):
        assert set(position[str(token_id)]) == {"logprob", "rank", "decoded_token"}
        assert len(position) == 2


def test_usage_of_a_stream_of_several_prompts(fake: FakeServer) -> None:
    chunks = events(fake, prompt=["a", "b"], max_tokens=3, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 6


def test_truncation(fake: FakeServer) -> None:
    ids = list(range(20, 40))
    post(fake, prompt=ids, truncate_prompt_tokens=5)
    assert fake.engine.submitted[-1][0] == ids[-5:]
    post(fake, prompt=ids, truncate_prompt_tokens=5, truncation_side="right")
    assert fake.engine.submitted[-1][0] == ids[:5]


BAD = [
    ({}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["a", 1]}, "prompt"),
    ({"prompt": ["a"] * 1025}, "prompt"),
    ({"prompt": 5}, "body.prompt"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
    ({"prompt": "a", "max_tokens": 257}, "max_tokens"),
    ({"prompt": "a", "suffix": "b"}, "suffix"),
    ({"prompt": "a", "prompt_embeds": "AA"}, "prompt_embeds"),
    ({"prompt": "a", "logprobs": 21}, "logprobs"),
    ({"prompt": "a", "logprobs": -2}, "logprobs"),
    ({"prompt": "a", "best_of": 3, "stream": True}, "best_of"),
    ({"prompt": "a", "prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ({"prompt": "a", "truncation_side": "middle"}, "truncation_side"),
    ({"prompt": ["a"] * 20, "n": 1000, "temperature": 1}, "n"),
    ({"prompt": [[1, 2], [5] * 500]}, "input_tokens"),
]


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[f"{i}-{b[1]}" for i, b in enumerate(BAD)])
def test_bad_input_is_a_400_that_names_the_parameter(fake: FakeServer, fields: dict[str, Any], param: str) -> None:
    response = post(fake, **fields)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert not fake.engine.open  # also none of the prompts that were good


def test_seed_chunks_of_old_clients_still_parse(fake: FakeServer) -> None:
    """The loop of the simplest client: lines, `data: `, JSON, [DONE]."""
    text = ""
    body = {"model": "fake", "prompt": "a", "max_tokens": 50, "stream": True}
    with fake.http.stream("POST", PATH, json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                text += json.loads(line[6:])["choices"][0]["text"]
    assert text == SENTENCE
