"""Anthropic's messages over answers that the test writes: streams join to the same message, and every form of error."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import jiter
import pytest
from api.fake_server import FakeServer, fake_server

from penstock.config.sections import ServerArgs
from penstock.entrypoints.anthropic.partial_json import object_of

URL = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
TOOL = {"name": "f", "input_schema": {"type": "object"}}
BODY: dict[str, Any] = {"model": "fake", "max_tokens": 150, "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**BODY, "stream": True}

ARGUMENTS = '{"text": "a \\"b\\" \\u00e9", "n": [1, {"x": null}], "y": 2.5}'
CALL = f'<tool_call>\n{{"name": "f", "arguments": {ARGUMENTS}}}\n</tool_call>'
TRANSCRIPTS = {
    "text": "Hello there,\nworld.",
    "thinking": "<think>\nLet me see.\n</think>\n\nFive.",
    "only thinking": "<think>\nI do not know",
    "call": CALL,
    "calls": f"I look twice.\n{CALL}\n{CALL}",
    "all": f"<think>\nHm.\n</think>\n\nI look.\n{CALL}\nThat is all.",
    "thinking, then a call": f"<think>\nHm.\n</think>\n{CALL}",
}


@pytest.fixture(scope="module")
def module_fake() -> Iterator[FakeServer]:
    args = ServerArgs(reasoning_parser="auto", max_num_queued_reqs=2, sse_keep_alive_interval=0.1)
    with fake_server(args) as running:
        yield running


@pytest.fixture
def fake(module_fake: FakeServer) -> Iterator[FakeServer]:
    sentence = module_fake.engine.sentence
    module_fake.reset()
    yield module_fake
    module_fake.engine.sentence = sentence
    module_fake.reset()


def client_of(fake: FakeServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=fake.url, api_key="none", max_retries=0)


def without_ids(message: Any) -> dict[str, Any]:
    result: dict[str, Any] = message.to_dict()
    for block in result["content"]:
        block.pop("id", None)
    del result["id"]
    return result


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_stream_joins_to_the_same_message(fake: FakeServer, name: str) -> None:
    text = TRANSCRIPTS[name]
    fake.engine.sentence = fake.engine.tokenizer.encode(text, False)
    client = client_of(fake)
    fields: dict[str, Any] = {**BODY, "tools": [TOOL], "thinking": {"type": "adaptive"}}
    size = len(fake.engine.sentence)
    for limit in range(1, size + 1) if name == "all" else (size // 2, size):  # cut off at every place, too
        fields["max_tokens"] = limit
        whole = client.messages.create(**fields)
        with client.messages.stream(**fields) as stream:
            joined = stream.get_final_message()
        assert without_ids(joined) == without_ids(whole), limit


def test_blocks_of_a_whole_answer(fake: FakeServer) -> None:
    fake.engine.sentence = fake.engine.tokenizer.encode(TRANSCRIPTS["all"], False)
    message = client_of(fake).messages.create(**BODY, tools=[TOOL], thinking={"type": "adaptive"})  # type: ignore[call-overload]
    assert [b.type for b in message.content] == ["thinking", "text", "tool_use", "text"]
    assert message.content[2].input == {"text": 'a "b" \u00e9', "n": [1, {"x": None}], "y": 2.5}
    assert message.content[3].text.strip() == "That is all."
    assert message.stop_reason == "tool_use"


def test_silence_is_filled_with_pings(fake: FakeServer) -> None:
    fake.engine.delay_s = 0.35
    with fake.http.stream("POST", URL, json={**STREAM, "max_tokens": 1}) as answer:
        text = b"".join(answer.iter_bytes()).decode()
    assert text.startswith('event: ping\ndata: {"type":"ping"}\n\n')
    assert text.count("event: ping") > 2
    assert text.endswith('event: message_stop\ndata: {"type":"message_stop"}\n\n')


def block(**members: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [members]}]}


def spoken(*contents: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]}


CALLED = [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]
# Change of the body -> the place that the error names.
BAD: list[tuple[dict[str, Any], str]] = [
    ({"model": 5}, "model"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "system", "content": ""}]}, "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    (block(type="image", source={"type": "base64", "media_type": "image/png", "data": ""}), "messages.0.content.0"),
    (block(type="text"), "messages.0.content.0.text"),
    (block(), "messages.0.content.0"),
    (block(type="document", source={"type": "url", "url": "http://x"}), "messages.0.content.0.source"),
    (block(type="document", source=None), "messages.0.content.0.source"),
    (block(type="tool_result", content="x"), "messages.0.content.0.tool_use_id"),
    (block(type="tool_result", tool_use_id="1", content=[{"type": "image"}]), "messages.0.content.0.content.0"),
    (block(type="tool_result", tool_use_id="1", content=[5]), "messages.0.content.0.content"),
    (spoken("x", [{"type": "tool_use", "id": "1", "name": "f", "input": "{}"}]), "messages.1.content.0.input"),
    (spoken("x", [{"type": "thinking", "signature": "x"}]), "messages.1.content.0.thinking"),
    (spoken("x", CALLED), "messages"),
    ({"system": [{"type": "text"}]}, "system.0.text"),
    ({"system": 5}, "system"),
    ({"stop_sequences": ["x"] * 65}, "stop_sequences"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": -7}, "top_k"),
    ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
    ({"tools": [{"type": "computer_toolset_20260801", "name": "computer"}]}, "tools.0"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tool_choice": {"type": "tool"}, "tools": [TOOL]}, "tool_choice.name"),
    ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [TOOL]}, "tool_choice"),
    ({"tool_choice": "auto", "tools": [TOOL]}, "tool_choice"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1023}, "max_tokens": 5000}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 5000}, "max_tokens": 5000}, "thinking.budget_tokens"),
    ({"thinking": {"type": "enabled"}, "max_tokens": 5000}, "thinking.budget_tokens"),
    ({"thinking": {"type": "deep"}}, "thinking.type"),
    ({"output_config": {"format": {"type": "xml", "schema": {}}}}, "output_config.format.type"),
]


@pytest.mark.parametrize(("change", "place"), BAD)
def test_a_bad_request_names_the_place(fake: FakeServer, change: dict[str, Any], place: str) -> None:
    for stream in (False, True):
        answer = fake.http.post(URL, json={**BODY, "stream": stream, **change})
        check_error(answer, 400, "invalid_request_error")
        assert place in answer.json()["error"]["message"]
    assert not fake.engine.open


def check_error(answer: Any, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"type", "error"}
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    assert body["error"]["type"] == kind
    assert body["error"]["message"]


def test_errors_before_the_first_event(fake: FakeServer) -> None:
    check_error(fake.http.post(URL, json={**BODY, "model": "other"}), 404, "not_found_error")
    check_error(fake.http.post(COUNT, json={**BODY, "model": "other"}), 404, "not_found_error")
    check_error(fake.http.post(URL + "/batches", json=BODY), 404, "not_found_error")
    check_error(fake.http.get(URL), 405, "invalid_request_error")
    check_error(
        fake.http.post(URL, content=b"{", headers={"content-type": "application/json"}), 400, "invalid_request_error"
    )
    check_error(fake.http.post(URL, content=b"{}"), 400, "invalid_request_error")
    fake.engine.delay_s = 0.2
    late = fake.http.post(URL, json=STREAM, headers={"x-request-timeout-ms": "50"})
    check_error(late, 408, "timeout_error")
    fake.engine.delay_s = 0.0
    fake.engine.fail_after = 0
    check_error(fake.http.post(URL, json=STREAM), 500, "api_error")
    fake.engine.ready = False
    loading = fake.http.post(URL, json=BODY)
    check_error(loading, 503, "overloaded_error")
    assert loading.headers["retry-after"]
    assert fake.http.post("/v1/completions", json={"prompt": "x"}).json()["error"]["code"] == 503


def test_a_full_queue_is_a_429(fake: FakeServer) -> None:
    fake.engine.delay_s = 5
    with contextlib.ExitStack() as stack:
        for _ in range(2):  # silence begins with a ping: both are open
            stack.enter_context(fake.http.stream("POST", URL, json=STREAM))
        refused = fake.http.post(URL, json=BODY)
    check_error(refused, 429, "rate_limit_error")
    assert refused.headers["x-should-retry"] == "true"
    with pytest.raises(anthropic.RateLimitError):
        raise client_of(fake)._make_status_error_from_response(refused)  # type: ignore[arg-type]


def test_a_body_that_is_too_large(fake: FakeServer) -> None:
    fields = "Host: x\r\nContent-Type: application/json\r\nContent-Length: 9999999999"
    head, body = fake.raw(f"POST {URL} HTTP/1.1\r\n{fields}\r\n\r\n".encode())
    assert head.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["error"]["type"] == "request_too_large"


def test_an_error_in_a_stream(fake: FakeServer) -> None:
    fake.engine.fail_after = 3
    with fake.http.stream("POST", URL, json=STREAM) as answer:
        *_, last, rest = b"".join(answer.iter_bytes()).decode().split("\n\n")
    name, data = last.split("\n")
    assert (name, rest) == ("event: error", "")
    error = json.loads(data.removeprefix("data: "))
    assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    with pytest.raises(anthropic.APIStatusError) as e, client_of(fake).messages.stream(**BODY) as stream:
        stream.get_final_message()
    assert e.value.type == "api_error"
    assert not fake.engine.open


def test_what_clients_send_reaches_the_prompt(fake: FakeServer) -> None:
    document = {"type": "text", "media_type": "text/plain", "data": "all is well"}
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "b"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": "no file"}
    turns = [
        {"role": "system", "content": "Rule one."},
        {"role": "user", "content": "Look at"},
        {"role": "user", "content": [{"type": "document", "title": "Notes", "source": document}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, call]},
        {"role": "user", "content": [result, {"type": "text", "text": "go on"}]},
        {"role": "system", "content": "Be quick."},
    ]
    prompt = prompt_of(fake, {"system": "Rule zero.", "messages": turns})
    parts = ["Rule zero.", "Rule one.", "Look at", "Notes\nall is well", "I look.", '{"a": "b"}', "Error: no file"]
    parts += ["go on", "<system-reminder>\nBe quick.\n</system-reminder>"]
    places = [prompt.find(p) for p in parts]
    assert -1 not in places
    assert places == sorted(places)


def prompt_of(fake: FakeServer, change: dict[str, Any]) -> str:
    body = {**BODY, **change}
    answer = fake.http.post(URL, json=body)
    assert answer.status_code == 200, answer.text
    ids = fake.engine.submitted[-1][0]
    assert fake.http.post(COUNT, json=body).json()["input_tokens"] == len(ids)
    return fake.engine.tokenizer.decode(ids, skip_special_tokens=False)


def test_tools_that_only_anthropic_runs_are_left_out(fake: FakeServer) -> None:
    tools = [{"type": "bash_20250124", "name": "bash"}, {"type": "web_fetch_20260318", "name": "web_fetch"}]
    prompt = prompt_of(fake, {"tools": tools})
    assert '"bash"' in prompt
    assert "restart" in prompt
    assert "web_fetch" not in prompt
    assert "<tools>" not in prompt_of(fake, {"tools": tools[1:]})


def test_a_prompt_that_is_too_long(fake: FakeServer) -> None:
    length = fake.http.post(COUNT, json={**BODY, "system": "x " * 300}).json()["input_tokens"]
    answer = fake.http.post(URL, json={**BODY, "system": "x " * 300})
    check_error(answer, 400, "invalid_request_error")
    assert answer.json()["error"]["message"] == f"prompt is too long: {length} tokens > 255 maximum"


def test_thinking_has_a_budget(fake: FakeServer) -> None:
    fields = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 5000}
    prompt = prompt_of(fake, fields)
    assert "</think>" not in prompt
    thinking = fake.engine.submitted[-1][1].thinking
    assert thinking is not None
    assert thinking.budget == 1024
    assert "</think>" in prompt_of(fake, {"thinking": {"type": "disabled"}})
    between = {"type": "between_tools"}
    assert "</think>" in prompt_of(fake, {"thinking": between})
    call, result = spoken("x", CALLED)["messages"], {"type": "tool_result", "tool_use_id": "1"}
    turns = [*call, {"role": "user", "content": [result]}]
    assert prompt_of(fake, {"thinking": between, "messages": turns}).endswith("<|im_start|>assistant\n")


def test_sampling_fields(fake: FakeServer) -> None:
    prompt_of(fake, {"top_k": 3, "top_p": 0.5, "temperature": 0.25, "stop_sequences": ["x"]})
    params = fake.engine.submitted[-1][1]
    assert (params.top_k, params.top_p, params.temperature, params.stop) == (3, 0.5, 0.25, ["x"])


def test_arguments_that_are_cut_off_read_as_the_client_reads_them() -> None:
    text = '{"a": "b \\" } \\u00e9", "c": [1.5e3, -2, [true, {"d": null}], {}], "e": {"f": ["g", 10]}, "h": false}'
    for size in range(1, len(text) + 1):
        assert object_of(text[:size]) == jiter.from_json(text[:size].encode(), partial_mode=True), text[:size]
    assert object_of("") == object_of("[1]") == object_of("} {") == object_of("{]") == {}
