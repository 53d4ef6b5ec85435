"""Tokens, SageMaker's route, load and the developers' routes, against a real server that has them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from penstock.tokenizers.tokenizer import Tokenizer
from servers import run_server

CHAT: list[Any] = [{"role": "user", "content": "What is Penstock?"}]


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    options = ("--enable-tokenizer-info-endpoint", "--enable-server-load-tracking", "--block-size", "16")
    trusting = ("--trust-request-chat-template",)
    log = tmp_path_factory.mktemp("admin") / "log"
    with (
        run_server(*options, *trusting, log=log, env={"VLLM_SERVER_DEV_MODE": "1"}) as running,
        httpx.Client(base_url=running.url, timeout=60) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def tokenizer(bundled_model: Any) -> Tokenizer:
    return Tokenizer.from_folder(bundled_model)


def good(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize(
    "text", ["Hello, world!", " leading and  double ", "\u4f60\u597d \U0001f600", "<|im_start|>", ""]
)
def test_text_and_back(http: httpx.Client, tokenizer: Tokenizer, text: str) -> None:
    for special in (True, False):
        body = {"prompt": text, "add_special_tokens": special, "return_token_strs": True}
        answer = good(http.post("/tokenize", json=body))
        assert answer["tokens"] == tokenizer.encode(text, special)
        assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
        assert answer["token_strs"] == [tokenizer.id_to_token(i) for i in answer["tokens"]]
    assert good(http.post("/detokenize", json={"tokens": answer["tokens"]})) == {"prompt": text}


def test_chats_have_the_tokens_that_they_run_as(http: httpx.Client) -> None:
    forms: list[dict[str, Any]] = [
        {"messages": CHAT},
        {"messages": [*CHAT, {"role": "assistant", "content": "It is"}], "continue_final_message": True},
        {"messages": CHAT, "chat_template_kwargs": {"enable_thinking": False}},
        {"messages": CHAT, "add_special_tokens": True},
        {"messages": CHAT, "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
    ]
    for form in forms:
        ids = good(http.post("/tokenize", json=form))["tokens"]
        run = {**form, "max_tokens": 1, "return_token_ids": True} | ({"tool_choice": "none"} if "tools" in form else {})
        assert good(http.post("/v1/chat/completions", json=run))["prompt_token_ids"] == ids
    without = good(http.post("/tokenize", json={"messages": CHAT, "add_generation_prompt": False}))["tokens"]
    assert len(without) < len(good(http.post("/tokenize", json=forms[0]))["tokens"])


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 5}, "body.prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": CHAT, "chat_template": "{% if %}"}, "chat_template"),
        (
            "/tokenize",
            {"messages": CHAT, "add_generation_prompt": True, "continue_final_message": True},
            "continue_final_message",
        ),
        ("/detokenize", {"tokens": [10**9]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {}, "body.tokens"),
    ],
)
def test_bad_input_is_named(http: httpx.Client, path: str, body: Any, param: str) -> None:
    response = http.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


def test_the_tokenizers_configuration(http: httpx.Client, tokenizer: Tokenizer) -> None:
    """What lm-eval's remote tokenizer reads."""
    info = good(http.get("/tokenizer_info"))
    assert info["eos_token"] == tokenizer.eos_token
    assert info["chat_template"] == tokenizer.chat_template
    assert info["vocab_size"] == len(tokenizer)
    assert info["tokenizer_class"]


def test_the_body_says_which_endpoint_is_meant(http: httpx.Client) -> None:
    chat = good(http.post("/invocations", json={"messages": CHAT, "max_tokens": 2, "temperature": 0}))
    assert chat["object"] == "chat.completion"
    text = good(http.post("/invocations", json={"prompt": "Once", "max_tokens": 2, "temperature": 0}))
    direct = good(http.post("/v1/completions", json={"prompt": "Once", "max_tokens": 2, "temperature": 0}))
    assert text["choices"] == direct["choices"]
    streamed = http.post("/invocations", json={"prompt": "Once", "max_tokens": 2, "stream": True})
    assert streamed.text.endswith("data: [DONE]\n\n")
    for body in ({}, {"model": "x"}, {"promt": "a"}):
        response = http.post("/invocations", json=body)
        assert response.status_code == 400
        assert response.json()["error"]["message"].startswith("Cannot find suitable handler for request.")
    assert http.post("/invocations", json={"prompt": 5}).json()["error"]["param"] == "body.prompt"
    assert http.post("/invocations", content=b"[1", headers={"content-type": "application/json"}).status_code == 400


def test_the_prefix_cache_can_be_forgotten_while_requests_run(http: httpx.Client) -> None:
    ids = list(range(100, 180))
    body = {"prompt": ids, "max_tokens": 300, "ignore_eos": True, "temperature": 0, "return_token_ids": True}
    whole = good(http.post("/v1/completions", json=body))["choices"][0]["token_ids"]
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(good(http.post("/v1/completions", json=body))))
    other.start()
    while good(http.get("/load"))["server_load"] == 0:
        time.sleep(0.002)
    time.sleep(0.05)
    running = good(http.post("/reset_prefix_cache"))["success"]
    assert good(http.post("/reset_prefix_cache?reset_running_requests=true"))["success"] is True
    other.join(60)
    assert found[0]["choices"][0]["token_ids"] == whole  # it started again, and says the same
    assert running is False
    assert good(http.get("/load"))["server_load"] == 0


def test_states_and_versions(http: httpx.Client) -> None:
    assert [http.get(path).status_code for path in ("/health", "/ready", "/ping")] == [200] * 3
    assert http.post("/ping").status_code == 200
    assert set(good(http.get("/version"))) == {"version"}
    (card,) = good(http.get("/v1/models"))["data"]
    assert good(http.get(f"/v1/models/{card['id']}")) == card
    (worker,) = good(http.post("/collective_rpc", json={"method": "describe"}))["results"]
    assert worker["platform"] == "cpu"
    unknown = http.post("/collective_rpc", json={"method": "shutdown"})
    assert (unknown.status_code, "no method 'shutdown'" in unknown.text) == (400, True)
    assert http.post("/collective_rpc", json={}).json()["error"]["param"] == "body.method"
    huge = http.post("/collective_rpc", json={"method": "describe", "args": [10**30]})
    assert (huge.status_code, huge.json()["error"]["param"]) == (400, "args")
    info = good(http.get("/server_info?config_format=json"))["vllm_config"]
    assert info["cache"]["block_size"] == 16
    assert "block_size=16" in good(http.get("/server_info"))["vllm_config"]


def test_templates_of_requests(http: httpx.Client) -> None:
    """They render as the server's own would, and one that never ends hurts nobody."""
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{{ tone }}"
    fields = {"messages": CHAT, "chat_template": template, "chat_template_kwargs": {"tone": "!"}}
    ids = good(http.post("/tokenize", json=fields))["tokens"]
    assert good(http.post("/detokenize", json={"tokens": ids}))["prompt"] == "<user>What is Penstock?!"
    answer = good(http.post("/v1/chat/completions", json={**fields, "max_tokens": 1, "return_token_ids": True}))
    assert answer["prompt_token_ids"] == ids
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    huge = (
        "{% set x = namespace(a=range(99999)|list) %}"
        "{% for i in range(999) %}{% set x.a = [x.a|map('string')|list, x.a] %}{% endfor %}{{ x.a }}"
    )
    found: list[httpx.Response] = []

    def attack(source: str) -> None:
        body = {"messages": CHAT, "chat_template": source}
        found.append(httpx.post(http.base_url.join("/v1/chat/completions"), json=body, timeout=60))

    threads = [threading.Thread(target=attack, args=(s,)) for s in (endless, huge, endless)]
    for thread in threads:
        thread.start()
    waits = []
    while any(t.is_alive() for t in threads):
        began = time.monotonic()
        good(http.post("/v1/completions", json={"prompt": "Once", "max_tokens": 1}))
        waits.append(time.monotonic() - began)
    assert [r.status_code for r in found] == [400] * 3
    assert {r.json()["error"]["param"] for r in found} <= {"messages", "chat_template"}
    assert sorted(waits)[len(waits) // 2] < 1
