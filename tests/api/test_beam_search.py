"""Beam search over HTTP against a real server: the same sequences as the offline class, for completions and chat."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import openai
import pytest

from penstock import LLM, BeamSearchParams
from servers import RunningServer

PROMPT = "The capital of France is"
BEAMS: dict[str, Any] = {"use_beam_search": True}


@pytest.fixture(scope="module")
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.openai_url, api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def model(client: openai.OpenAI) -> str:
    return client.models.list().data[0].id


def test_completions_are_those_of_the_offline_class(server: RunningServer, client: openai.OpenAI, model: str) -> None:
    llm = LLM(max_model_len=256, num_gpu_blocks_override=100, cpu_threads=1)
    params = BeamSearchParams(beam_width=4, max_tokens=8, length_penalty=0.5, early_stopping=True)
    found = llm.beam_search([PROMPT, "Once"], params)
    llm.shutdown()
    answer = client.completions.create(
        model=model,
        prompt=[PROMPT, "Once"],
        n=4,
        max_tokens=8,
        temperature=0,
        logprobs=2,
        extra_body={**BEAMS, "length_penalty": 0.5, "early_stopping": True, "return_token_ids": True},
    )
    assert [c.index for c in answer.choices] == list(range(8))
    sequences = [s for output in found for s in output.sequences]
    for choice, sequence in zip(answer.choices, sequences, strict=True):
        ids = choice.model_extra["token_ids"]  # type: ignore[index]
        assert sequence.tokens[-len(ids) :] == ids
        assert choice.finish_reason == sequence.finish_reason
        assert (sequence.text or "").endswith(choice.text)
        assert choice.logprobs is not None
        assert choice.logprobs.token_logprobs == [p[i].logprob for p, i in zip(sequence.logprobs, ids, strict=True)]
        assert all(len(top) in (2, 3) for top in choice.logprobs.top_logprobs or [])
    assert answer.usage is not None
    assert answer.usage.completion_tokens == sum(len(s.logprobs) for s in sequences)
    wider = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=8, extra_body={**BEAMS, "best_of": 4, "length_penalty": 0.5}
    )
    assert len(wider.choices) == 1


def test_chat_streamed_and_whole(client: openai.OpenAI, model: str) -> None:
    fields: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "What is Penstock?"}],
        "n": 2,
        "max_tokens": 12,
        "extra_body": BEAMS,
    }
    whole = client.chat.completions.create(**fields)
    texts = ["", ""]
    for chunk in client.chat.completions.create(**fields, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [c.message.content for c in whole.choices]
    assert texts[0] != texts[1]


def test_the_prompt_is_scored_beside_the_search(server: RunningServer) -> None:
    body = {**BEAMS, "prompt": PROMPT, "echo": True, "logprobs": 1, "n": 2, "max_tokens": 3}
    answer = httpx.post(server.openai_url + "/completions", json=body, timeout=60).json()
    for choice in answer["choices"]:
        assert choice["text"].startswith(PROMPT)
        assert choice["logprobs"]["token_logprobs"][0] is None
        assert len(choice["logprobs"]["tokens"]) == answer["usage"]["prompt_tokens"] + 3


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 30}, "n"),
        ({"repetition_penalty": 1.5}, "repetition_penalty"),
        ({"stop": ["x"]}, "stop"),
        ({"early_stopping": "maybe"}, "early_stopping"),
        ({"length_penalty": 1e9}, "length_penalty"),
        ({"stop_token_ids": [10**6]}, "stop_token_ids"),
        ({"use_beam_search": False, "length_penalty": 2.0}, "length_penalty"),
    ],
    ids=str,
)
def test_what_cannot_be_searched_is_refused(server: RunningServer, fields: dict[str, Any], param: str) -> None:
    response = httpx.post(server.openai_url + "/completions", json={"prompt": "a", **BEAMS, **fields}, timeout=60)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param


def test_a_client_that_leaves_ends_its_search(server: RunningServer) -> None:
    body = {**BEAMS, "prompt": PROMPT, "n": 4, "max_tokens": 3000, "ignore_eos": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(server.openai_url + "/completions", json=body, timeout=0.5)
    deadline = time.monotonic() + 10
    while any(gauges(server)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    assert not any(gauges(server))  # no next step came


def gauges(server: RunningServer) -> list[float]:
    page = httpx.get(server.url + "/metrics").text
    found = re.findall(r"^penstock:(?:num_requests_\w+|kv_cache_usage_perc){[^}]*} (\S+)$", page, re.MULTILINE)
    assert len(found) >= 3
    return [float(value) for value in found]


def test_what_binds_answers_is_refused(server: RunningServer) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    fields = {"messages": [{"role": "user", "content": "Hi"}], "use_beam_search": True, "n": 2, "temperature": 0}
    body = {**fields, "tools": [tool], "tool_choice": "required"}
    error = httpx.post(f"{server.openai_url}/chat/completions", json=body, timeout=60).json()["error"]
    assert (error["code"], error["param"]) == (400, "tools")
