"""Fields of /v1/completions against a real server: each does what it says, streamed or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from servers import RunningServer, run_server

PROMPT = "The capital of France is"
COUNTED = {"ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def detailed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that says all it can, under other names and limits than the shared one."""
    options = ("--enable-prompt-tokens-details", "--return-tokens-as-token-ids", "--enable-force-include-usage")
    names = ("--served-model-name", "mine", "--max-num-seqs", "3", "--stream-interval", "4", "--block-size", "16")
    template: Path = tmp_path_factory.mktemp("detailed")
    with run_server(*options, *names, log=template / "log") as running:
        yield running


def post(server: RunningServer, **fields: Any) -> Any:
    response = httpx.post(server.openai_url + "/completions", json={"prompt": PROMPT, **fields}, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def chunks(server: RunningServer, **fields: Any) -> list[Any]:
    body = {"prompt": PROMPT, "stream": True, **fields}
    response = httpx.post(server.openai_url + "/completions", json=body, timeout=60)
    assert response.status_code == 200, response.text
    *events, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data:")]
    assert done == "[DONE]"
    return [json.loads(e) for e in events]


def tokens_per_chunk(found: list[Any]) -> list[int]:
    return [len(c["token_ids"]) for e in found for c in e["choices"] if c["token_ids"]]


def test_an_interval_holds_tokens_together(server: RunningServer, detailed: RunningServer) -> None:
    body: dict[str, Any] = {**COUNTED, "max_tokens": 12, "return_token_ids": True}
    plain, held = chunks(server, **body), chunks(server, **body, stream_interval=5)
    assert all(count >= 5 for count in tokens_per_chunk(held)[1:-1])
    assert sum(tokens_per_chunk(held)) == sum(tokens_per_chunk(plain)) == 12
    texts = ["".join(c["choices"][0]["text"] for c in found) for found in (plain, held)]
    assert texts[0] == texts[1] == post(server, **body)["choices"][0]["text"]
    assert all(count >= 4 for count in tokens_per_chunk(chunks(detailed, **body))[1:-1])  # the server's own number
    assert len(tokens_per_chunk(chunks(detailed, **body, stream_interval=100))) <= 2  # the first token, and the rest


def test_an_answer_that_repeats_itself_ends(server: RunningServer) -> None:
    body: dict[str, Any] = {**COUNTED, "max_tokens": 40, "logit_bias": {"50": 100}}
    detection = {"max_pattern_size": 2, "min_count": 4}
    answer = post(server, **body, repetition_detection=detection, return_token_ids=True)
    assert answer["choices"][0]["finish_reason"] == "repetition"
    assert answer["choices"][0]["token_ids"] == [50] * 4
    assert chunks(server, **body, repetition_detection=detection)[-1]["choices"][0]["finish_reason"] == "repetition"
    assert post(server, **body, repetition_detection=None)["choices"][0]["finish_reason"] == "length"


def test_usage_says_what_came_from_the_cache(detailed: RunningServer) -> None:
    ids = [100 + i for i in range(60)]
    salted = [post(detailed, prompt=ids, max_tokens=1, cache_salt=s)["usage"] for s in ("a", "a", "b", None, None)]
    cached = [u["prompt_tokens_details"]["cached_tokens"] for u in salted]
    assert cached[0] == cached[2] == cached[3] == 0
    assert cached[1] == cached[4] == 48  # whole blocks
    stream = chunks(detailed, prompt=ids, max_tokens=3, **COUNTED)
    assert stream[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 48}
    assert all(c["usage"]["prompt_tokens"] == 60 for c in stream)  # forced: with every chunk


def test_usage_of_streams(server: RunningServer) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    found = chunks(server, prompt=[PROMPT, "Once"], max_tokens=4, stream_options=options, **COUNTED)
    counts = [c["usage"]["completion_tokens"] for c in found]
    assert counts == sorted(counts)
    assert counts[-1] == 8
    assert found[-1]["choices"] == []
    assert not any("usage" in c for c in chunks(server, max_tokens=3, stream_options={"include_usage": False}))


def test_tokens_as_ids(server: RunningServer, detailed: RunningServer) -> None:
    body: dict[str, Any] = {"max_tokens": 2, "logprobs": 1, "echo": True, **COUNTED}
    for found in (post(detailed, **body), post(server, **body, return_tokens_as_token_ids=True)):
        assert all(t.startswith("token_id:") for t in found["choices"][0]["logprobs"]["tokens"])
    assert "token_id:" not in json.dumps(post(detailed, **body, return_tokens_as_token_ids=False))


def test_what_ends_an_answer(server: RunningServer) -> None:
    whole = post(server, max_tokens=12, return_token_ids=True, **COUNTED)["choices"][0]
    words = whole["text"].split()
    stopped = post(server, max_tokens=12, stop=[None, words[1]], **COUNTED)["choices"][0]
    assert (stopped["finish_reason"], stopped["stop_reason"]) == ("stop", words[1])
    assert words[1] not in stopped["text"]
    kept = post(server, max_tokens=12, stop=words[1], include_stop_str_in_output=True, **COUNTED)["choices"][0]
    assert kept["text"].endswith(words[1])
    third = whole["token_ids"][2]
    by_id = post(server, max_tokens=12, stop_token_ids=[third], return_token_ids=True, **COUNTED)["choices"][0]
    assert (by_id["finish_reason"], by_id["stop_reason"]) == ("stop", third)
    for nothing in (None, [], ""):
        assert post(server, max_tokens=3, stop=nothing, **COUNTED)["choices"][0]["finish_reason"] == "length"


def test_what_tokens_may_be_chosen(server: RunningServer) -> None:
    body: dict[str, Any] = {"max_tokens": 6, "return_token_ids": True, "ignore_eos": True, "seed": 4}
    allowed = post(server, **body, allowed_token_ids=[40, 41, 42])["choices"][0]["token_ids"]
    assert set(allowed) <= {40, 41, 42}
    first = post(server, **body, temperature=0)["choices"][0]
    biased = post(server, **body, temperature=0, logit_bias={str(first["token_ids"][0]): -100})["choices"][0]
    assert biased["token_ids"][0] != first["token_ids"][0]
    word = first["text"].split()[0]
    assert word not in post(server, **body, temperature=0, bad_words=[word])["choices"][0]["text"].split()


def test_prompts_of_a_batch_are_answered_as_alone(server: RunningServer) -> None:
    ids = httpx.post(server.url + "/tokenize", json={"prompt": PROMPT}).json()["tokens"]
    alone = [post(server, prompt=p, max_tokens=5, logprobs=2, **COUNTED)["choices"][0] for p in (PROMPT, "Once", ids)]
    texts = post(server, prompt=[PROMPT, "Once"], max_tokens=5, logprobs=2, **COUNTED)["choices"]
    lists = post(server, prompt=[ids, [7, 8]], max_tokens=5, logprobs=2, **COUNTED)["choices"]
    for one, other in ((alone[0], texts[0]), (alone[1], texts[1]), (alone[2], lists[0]), (alone[0], alone[2])):
        assert {k: v for k, v in one.items() if k != "index"} == {k: v for k, v in other.items() if k != "index"}


def test_numbers_may_be_written_in_other_ways(server: RunningServer) -> None:
    """As they come out of languages that have one kind of number, or none."""
    plain = post(server, max_tokens=3, **COUNTED, logprobs=1)["choices"]
    assert post(server, max_tokens=3.0, temperature="0", ignore_eos=1, logprobs="1")["choices"] == plain
    assert post(server, prompt=[7.0, 8], max_tokens=1) is not None
    for wrong in ({"max_tokens": 2.5}, {"max_tokens": "two"}, {"echo": "perhaps"}, {"stop": 5}, {"logprobs": True}):
        response = httpx.post(server.openai_url + "/completions", json={"prompt": PROMPT, **wrong}, timeout=60)
        assert (response.status_code, response.json()["error"]["param"]) == (400, f"body.{next(iter(wrong))}")


def test_a_priority_and_names_of_all_kinds_are_taken(server: RunningServer) -> None:
    fields = {"priority": -5, "user": {"a": 1}, "session_id": 7, "request_id": "r", "something_else": [1], "suffix": ""}
    assert post(server, max_tokens=1, **fields)["id"] == "cmpl-r"
    assert post(server, max_tokens=1, **dict.fromkeys((*fields, "n", "logprobs", "echo", "stream", "seed")))


def test_a_fingerprint_names_what_decides_an_answer(
    server: RunningServer, detailed: RunningServer, tmp_path: Path
) -> None:
    """Names, limits and how answers are shown are not part of it; the seed is."""
    one, other = (post(s, max_tokens=1)["system_fingerprint"] for s in (server, detailed))
    assert one == other
    with run_server("--seed", "5", log=tmp_path / "log") as seeded:
        assert post(seeded, max_tokens=1)["system_fingerprint"] != one


def test_the_official_client_takes_all_of_it(server: RunningServer) -> None:
    client = openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0, timeout=60)
    model = client.models.list().data[0].id
    with pytest.raises(openai.BadRequestError, match="suffix is only supported") as e:
        client.completions.create(model=model, prompt="def f(", suffix="return x")
    assert e.value.param == "suffix"
    answer = client.completions.create(
        model=model, prompt=[PROMPT] * 2, n=2, best_of=3, seed=11, echo=True, logprobs=3, max_tokens=4,
        presence_penalty=0.5, frequency_penalty=0.5, top_p=0.9, temperature=0.8, user="me", logit_bias={"9": -5},
    )  # fmt: skip
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    assert [c.text for c in answer.choices[:2]] == [c.text for c in answer.choices[2:]]  # the same seed
    assert all(c.text.startswith(PROMPT) for c in answer.choices)


def test_log_probabilities_of_named_tokens(server: RunningServer) -> None:
    body: dict[str, Any] = {**COUNTED, "max_tokens": 3, "logprobs": 0, "return_tokens_as_token_ids": True}
    everything = post(server, **{**body, "logprobs": 20})["choices"][0]["logprobs"]
    likely = [int(t.removeprefix("token_id:")) for t in everything["top_logprobs"][0]]
    ids = [likely[3], 5, likely[0], 3210, *range(100, 120)]
    named = post(server, **body, logprob_token_ids=ids)["choices"][0]["logprobs"]
    assert named["tokens"] == everything["tokens"]
    assert named["token_logprobs"] == everything["token_logprobs"]
    for position, top in zip(named["top_logprobs"], everything["top_logprobs"], strict=True):
        assert set(position) >= {f"token_id:{i}" for i in ids}
        assert all(position[t] == value for t, value in top.items() if t in position)  # to the last bit
        assert all(value < 0 for value in position.values())
    streamed = chunks(server, **body, logprob_token_ids=ids)
    assert [p for c in streamed for p in c["choices"][0]["logprobs"]["top_logprobs"]] == named["top_logprobs"]
    chat = {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "logprob_token_ids": [7, 8], **COUNTED}
    answer = httpx.post(server.openai_url + "/chat/completions", json={**chat, "max_tokens": 2}, timeout=60).json()
    assert [len(p["top_logprobs"]) for p in answer["choices"][0]["logprobs"]["content"]] == [3, 3]
    for wrong in ({"logprobs": None}, {"logprob_token_ids": [10**7]}, {"logprob_token_ids": [1] * 129}):
        fields = {"prompt": PROMPT, **body, "logprob_token_ids": [1], **wrong}
        response = httpx.post(server.openai_url + "/completions", json=fields, timeout=60)
        assert (response.status_code, response.json()["error"]["param"]) == (400, "logprob_token_ids")
