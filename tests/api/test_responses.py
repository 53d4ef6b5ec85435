"""/v1/responses with the official client: made, streamed, in the background, asked for again; bad requests."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from api.fake_engine import SENTENCE
from api.fake_server import FakeServer, fake_server
from pydantic import BaseModel

from penstock.config.sections import ServerArgs
from penstock.errors import ClientError
from servers import RunningServer, run_server

Json = dict[str, Any]
TOOL: Json = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
OTHER_TOOLS: list[Json] = [
    {"type": "web_search"},
    {"type": "local_shell"},
    {"type": "custom", "name": "apply_patch", "format": {"type": "text"}},
    {"type": "mcp", "server_label": "s", "server_url": "http://localhost"},
    {"type": "namespace", "name": "agents", "description": "Others", "tools": []},
]
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.fixture(scope="module")
def thinking_fake() -> Iterator[FakeServer]:
    args = ServerArgs(reasoning_parser="auto", default_chat_template_kwargs={"enable_thinking": True})
    with fake_server(args) as running:
        yield running


@pytest.fixture
def thinker(thinking_fake: FakeServer) -> Iterator[FakeServer]:
    """A server on a fake engine whose reasoning and calls are read; `says` sets what it writes."""
    thinking_fake.reset()
    sentence = thinking_fake.engine.sentence
    yield thinking_fake
    thinking_fake.engine.sentence = sentence


def says(fake: FakeServer, text: str) -> None:
    fake.engine.sentence = fake.engine.tokenizer.encode(text)


def post(fake: FakeServer, **fields: Any) -> httpx.Response:
    return fake.http.post("/v1/responses", json={"input": "hi", **fields})


def events(response: httpx.Response) -> list[Json]:
    found = [block.split("\n") for block in response.text.split("\n\n") if block and not block.startswith(":")]
    result = [json.loads(data.removeprefix("data: ")) for _, data in found]
    assert [line for line, _ in found] == [f"event: {e['type']}" for e in result]
    assert [e["sequence_number"] for e in result] == list(range(result[0]["sequence_number"], len(result)))
    return result


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def plain(items: list[Json]) -> list[Json]:
    """Output items without what is new every time."""
    return [{k: v for k, v in i.items() if k not in ("id", "call_id")} for i in items]


def text_of(response: Json) -> str:
    return "".join(p["text"] for i in response["output"] if i["type"] == "message" for p in i["content"])


def test_a_text(fake: FakeServer) -> None:
    response = fake.openai().responses.create(model="fake", input="hi", temperature=0.5, metadata={"a": "b"}, user="me")
    assert response.output_text == SENTENCE
    assert (response.status, response.model, response.object) == ("completed", "fake", "response")
    assert (response.temperature, response.metadata, response.user) == (0.5, {"a": "b"}, "me")
    assert response.usage is not None
    assert response.usage.output_tokens == len(fake.engine.sentence)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.output[0].id.startswith("msg_")
    ids, params, _ = fake.engine.submitted[-1]
    assert response.usage.input_tokens == len(ids)
    assert params.temperature == 0.5


def test_the_events_of_a_text(fake: FakeServer) -> None:
    response = post(fake, stream=True, max_output_tokens=2)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "[DONE]" not in response.text
    stream = events(response)
    assert [e["type"].removeprefix("response.") for e in stream] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "incomplete",
    ]  # fmt: skip
    assert [stream[n]["response"]["status"] for n in (0, 1, -1)] == ["in_progress", "in_progress", "incomplete"]
    last = stream[-1]["response"]
    assert last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["output"][0]["status"] == "incomplete"
    assert last["usage"]["output_tokens"] == 2
    assert stream[0]["response"]["output"] == []
    again = fake.http.get(f"/v1/responses/{last['id']}").json()
    assert again == last


ANSWERS = [
    "Plain words.",
    "<think>\nHm.\n</think>\n\nSo.",
    f"<think>\nHm.\n</think>\n\n{CALL}",
    f"I look.\n{CALL}\n{CALL}",
    f"<think>Hm.</think>\n\nFirst. {CALL} Then. {CALL}",
    "<think>Cut in the midd",
    '<tool_call>\n{"name": "get_weather", "arguments": {"ci',
    "",
]


@pytest.mark.parametrize("text", ANSWERS)
def test_a_stream_is_the_whole_response_in_pieces(thinker: FakeServer, text: str) -> None:
    says(thinker, text or "<|im_end|>")
    fields: Json = {
        "tools": [TOOL, *OTHER_TOOLS], "reasoning": {"summary": "auto"}, "include": ["message.output_text.logprobs"],
    }  # fmt: skip
    whole = post(thinker, **fields).json()
    stream = events(post(thinker, **fields, stream=True))
    last = stream[-1]["response"]
    assert plain(last["output"]) == plain(whole["output"])
    assert last["usage"] == whole["usage"]
    assert last["tools"] == fields["tools"]
    done = [e["item"] for e in stream if e["type"] == "response.output_item.done"]
    assert done == last["output"]
    for item in done:
        for part in item["content"] if item["type"] == "message" else []:
            tokens = "".join(t["token"] for t in part["logprobs"])
            assert part["text"].strip() == tokens.strip()  # the tokens of the text, and no others
    for at, item in enumerate(done):
        deltas = [
            e["delta"] for e in stream if e.get("output_index") == at and "delta" in e and "summary_index" not in e
        ]
        assert "".join(deltas) == item.get("arguments", (item.get("content") or [{"text": ""}])[0]["text"])
    with thinker.openai().responses.stream(model="fake", input="hi", **fields) as manager:
        for event in manager:
            assert event.type != "error"
        final = manager.get_final_response()
    assert [i.id.partition("_")[0] for i in final.output] == [i["id"].partition("_")[0] for i in whole["output"]]
    assert final.output_text == text_of(whole)
    assert [i.arguments for i in final.output if i.type == "function_call"] == [
        i["arguments"] for i in whole["output"] if i["type"] == "function_call"
    ]


def test_reasoning_and_calls_are_items_of_their_own(thinker: FakeServer) -> None:
    says(thinker, f"<think>Hm.</think>I look. {CALL}")
    response = thinker.openai().responses.create(
        model="fake", input="hi", tools=[TOOL, *OTHER_TOOLS], include=["reasoning.encrypted_content"]
    )
    reasoning, message, call = response.output
    assert reasoning.type == "reasoning"
    assert reasoning.content is not None
    assert [c.text for c in reasoning.content] == ["Hm."]
    assert reasoning.summary == []
    assert reasoning.encrypted_content
    assert message.type == "message"
    assert response.output_text == "I look. "
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert response.usage is not None
    assert 0 < response.usage.output_tokens_details.reasoning_tokens < response.usage.output_tokens
    thinker.openai().responses.create(
        model="fake",
        previous_response_id=response.id,
        tools=[TOOL],
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}],
    )
    prompt = thinker.engine.tokenizer.decode(thinker.engine.submitted[-1][0], skip_special_tokens=False)
    for words in ("I look.", '"city": "Paris"', "sunny"):
        assert words in prompt


def test_an_agent_that_keeps_the_conversation_itself(thinker: FakeServer) -> None:
    """As Codex does: nothing stored, streams only, all items sent back, tools of kinds that no model here has."""
    history: list[Json] = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}]
    fields: Json = {
        "instructions": "You are an agent.", "tools": [TOOL, *OTHER_TOOLS], "tool_choice": "auto",
        "parallel_tool_calls": False, "reasoning": {"effort": "medium", "summary": "auto"}, "store": False,
        "stream": True, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k",
    }  # fmt: skip
    says(thinker, f"<think>Look it up.</think>{CALL}")
    stream = events(post(thinker, input=history, **fields))
    assert stream[-1]["type"] == "response.completed"
    for event in stream:
        if event["type"] == "response.output_item.done":
            item = event["item"]
            history.append(
                {
                    k: v
                    for k, v in item.items()
                    if k not in ("id", "status", "content") or (k == "content" and item["type"] == "message")
                }
            )
            if item["type"] == "function_call":
                history.append({"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"})
    says(thinker, "It is sunny.")
    stream = events(post(thinker, input=history, **fields))
    assert stream[-1]["response"]["output"][-1]["content"][0]["text"] == "It is sunny."
    prompt = thinker.engine.tokenizer.decode(thinker.engine.submitted[-1][0], skip_special_tokens=False)
    for words in ("You are an agent.", "Weather?", '"city": "Paris"', "sunny"):
        assert words in prompt
    assert thinker.http.get(f"/v1/responses/{stream[-1]['response']['id']}").status_code == 404


def test_fields_reach_the_engine(fake: FakeServer) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    text = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}, "verbosity": "low"}
    assert post(fake, text=text, top_k=3, seed=5, stop="x", priority=2, cache_salt="s").status_code == 200
    _, params, options = fake.engine.submitted[-1]
    assert params.structured_outputs is not None
    assert params.structured_outputs.json == schema
    assert (params.top_k, params.seed, params.stop) == (3, 5, ["x"])
    assert (options["priority"], options["cache_salt"]) == (2, "s")
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    assert post(fake, tools=[TOOL, {**TOOL, "name": "b"}], tool_choice=allowed).status_code == 200
    ids, params, _ = fake.engine.submitted[-1]
    assert params.structured_outputs is not None
    assert "get_weather" not in fake.engine.tokenizer.decode(ids)


def test_logprobs_of_the_text(fake: FakeServer) -> None:
    fields: Json = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 3}
    whole = post(fake, **fields).json()["output"][0]["content"][0]
    stream = events(post(fake, **fields, stream=True))
    assert "".join(t["token"] for t in whole["logprobs"]) == whole["text"]
    assert [len(t["top_logprobs"]) for t in whole["logprobs"]] == [2, 2, 2]
    assert [t for e in stream if e["type"] == "response.output_text.delta" for t in e["logprobs"]] == whole["logprobs"]
    assert stream[-1]["response"]["output"][0]["content"][0] == whole


def test_truncation_drops_the_oldest_messages(fake: FakeServer) -> None:
    turns = [{"role": role, "content": f"{n} words " * 5} for n in range(12) for role in ("user", "assistant")]
    fields: Json = {"input": [*turns, {"role": "user", "content": "The last"}], "instructions": "The first"}
    assert post(fake, **fields).json()["error"]["param"] == "input_tokens"
    assert post(fake, **fields, truncation="disabled").status_code == 400
    response = post(fake, **fields, truncation="auto", max_output_tokens=40)
    assert response.status_code == 200
    ids = fake.engine.submitted[-1][0]
    assert 256 - 40 - 40 < len(ids) <= 256 - 40
    prompt = fake.engine.tokenizer.decode(ids)
    assert "The first" in prompt
    assert "The last" in prompt
    assert "11 words" in prompt
    assert "1 words 1 words" not in prompt
    too_long: Json = {"input": [*turns, {"role": "user", "content": "x " * 600}], "truncation": "auto"}
    assert post(fake, **too_long).json()["error"]["param"] == "input_tokens"


def test_an_answer_that_was_cut_off_goes_on(fake: FakeServer) -> None:
    cut = post(fake, max_output_tokens=3).json()
    assert post(fake, input=[], previous_response_id=cut["id"]).status_code == 200
    prompt = fake.engine.tokenizer.decode(fake.engine.submitted[-1][0], skip_special_tokens=False)
    assert prompt.endswith(text_of(cut))


def test_what_was_said_before_is_known(fake: FakeServer) -> None:
    client = fake.openai()
    first = client.responses.create(model="fake", input="My name is Ann.", instructions="Be brief.")
    second = client.responses.create(
        model="fake", input=[{"role": "user", "content": "And mine?"}], previous_response_id=first.id
    )
    prompt = fake.engine.tokenizer.decode(fake.engine.submitted[-1][0], skip_special_tokens=False)
    assert prompt.index("My name is Ann.") < prompt.index(SENTENCE) < prompt.index("And mine?")
    assert "Be brief." not in prompt
    assert second.previous_response_id == first.id
    items = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    assert [i.type for i in items] == ["message"] * 3
    page = client.responses.input_items.list(second.id, limit=1)
    assert page.has_more
    assert page.data[0].id == items[-1].id
    # By reference to an item, instead of all that came before.
    reference: Any = {"type": "item_reference", "id": first.output[0].id}
    client.responses.create(model="fake", input=[reference, {"role": "user", "content": "Go on."}])
    prompt = fake.engine.tokenizer.decode(fake.engine.submitted[-1][0])
    assert SENTENCE in prompt
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert client.responses.retrieve(second.id) == second


def test_in_the_background(fake: FakeServer) -> None:
    client = fake.openai()
    fake.engine.delay_s = 0.02
    response = client.responses.create(model="fake", input="hi", background=True)
    assert response.status == "queued"
    assert response.background
    with pytest.raises(openai.BadRequestError, match="in progress"):
        client.responses.create(model="fake", input="x", previous_response_id=response.id)
    until(lambda: client.responses.retrieve(response.id).status == "in_progress")
    assert fake.front.in_flight >= 1
    until(lambda: client.responses.retrieve(response.id).status == "completed")
    assert client.responses.retrieve(response.id).output_text == SENTENCE
    assert client.responses.cancel(response.id).status == "completed"  # too late: it stays as it is
    assert fake.front.in_flight == 0


def test_a_cancelled_response_stops_in_the_engine(fake: FakeServer) -> None:
    client = fake.openai()
    fake.engine.delay_s = 0.05
    stream = client.responses.create(model="fake", input="hi", background=True, stream=True)
    first = next(stream)
    assert first.type == "response.created"
    assert client.responses.cancel(first.response.id).status == "cancelled"
    assert not fake.engine.open
    assert [e.type for e in stream][-1] == "response.cancelled"
    deleted = client.responses.create(model="fake", input="hi", background=True)
    client.responses.delete(deleted.id)
    assert not fake.engine.open
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(deleted.id)


def test_a_background_stream_can_be_taken_up_again(fake: FakeServer) -> None:
    client = fake.openai()
    fake.engine.delay_s = 0.02
    with client.responses.create(model="fake", input="hi", background=True, stream=True) as stream:
        head = [next(stream) for _ in range(6)]
    assert [e.type for e in head[:3]] == ["response.created", "response.queued", "response.in_progress"]
    response_id = head[0].response.id
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=head[-1].sequence_number))
    numbers = [e.sequence_number for e in [*head, *rest]]
    assert numbers == list(range(len(numbers)))
    assert rest[-1].type == "response.completed"
    assert rest[-1].response.output_text == SENTENCE
    assert len(list(client.responses.retrieve(response_id, stream=True))) == len(numbers)
    with client.responses.stream(response_id=response_id, starting_after=0) as again:
        assert again.get_final_response().output_text == SENTENCE


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_response(fake: FakeServer, stream: bool) -> None:
    fake.leave_early("/v1/responses", {"input": "hi", "stream": stream})
    until(lambda: not fake.engine.open)


def test_a_failure(fake: FakeServer) -> None:
    fake.engine.fail_after = 3
    assert post(fake).status_code == 500
    last = events(post(fake, stream=True))[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "Internal server error"}
    assert last["response"]["output"][0]["status"] == "incomplete"
    background = post(fake, background=True).json()["id"]
    until(lambda: fake.http.get(f"/v1/responses/{background}").json()["status"] == "failed")
    assert not fake.engine.open


def test_a_request_whose_fault_shows_late(fake: FakeServer) -> None:
    fake.engine.fail_after = 0
    fake.engine.failure = ClientError("The answer could not go on: too complex.", "structured_outputs")
    assert post(fake).status_code == 400
    error = events(post(fake, stream=True))[-1]["response"]["error"]
    assert error == {"code": "invalid_prompt", "message": "The answer could not go on: too complex."}


BAD: list[tuple[Json, int, str]] = [
    ({"input": None}, 400, "body.input"),
    ({"input": 5}, 400, "body.input"),
    ({"input": [5]}, 400, "body.input.0"),
    ({"input": []}, 400, "input"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, 400, "input"),
    ({"input": "x " * 600}, 400, "input_tokens"),
    ({"input": [{"type": "item_reference", "id": "msg_0_0"}]}, 404, "input"),
    ({"input": [{"type": "web_search_call", "action": "x" * (17 << 20)}]}, 400, "input"),
    ({"model": "other"}, 404, "model"),
    ({"previous_response_id": "resp_0"}, 404, "previous_response_id"),
    ({"max_output_tokens": 0}, 400, "max_output_tokens"),
    ({"max_output_tokens": 257}, 400, "max_output_tokens"),
    ({"max_tool_calls": 0}, 400, "max_tool_calls"),
    ({"temperature": 3}, 400, "temperature"),
    ({"top_logprobs": 21}, 400, "top_logprobs"),
    ({"background": True, "store": False}, 400, "background"),
    ({"truncation": "some"}, 400, "truncation"),
    ({"metadata": {"a": 1}}, 400, "body.metadata"),
    ({"metadata": {"a" * 65: "b"}}, 400, "metadata"),
    ({"prompt": {"id": "p"}}, 400, "prompt"),
    ({"conversation": "c"}, 400, "conversation"),
    ({"stream_options": {}}, 400, "stream_options"),
    ({"text": {"format": "json"}}, 400, "text.format"),
    ({"text": {"format": {"type": "xml"}}}, 400, "text.format"),
    ({"text": {"format": {"type": "json_schema", "name": "x"}}}, 400, "text.format"),
    ({"reasoning": {"effort": 1}}, 400, "reasoning.effort"),
    ({"reasoning": {"summary": "long"}}, 400, "reasoning.summary"),
    ({"tools": [{"type": "function"}]}, 400, "tools"),
    ({"tools": [{**TOOL, "parameters": 1}]}, 400, "tools"),
    ({"tools": OTHER_TOOLS, "tool_choice": "required"}, 400, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "any"}, 400, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "x"}}, 400, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "web_search_preview"}}, 400, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "none"}}, 400, "tool_choice"),
]


@pytest.mark.parametrize(("fields", "status", "param"), BAD, ids=[f"{i}-{b[2]}" for i, b in enumerate(BAD)])
def test_bad_requests_name_the_field(fake: FakeServer, fields: Json, status: int, param: str) -> None:
    for stream in (False, True):
        if "stream_options" in fields and stream:
            continue
        response = post(fake, stream=stream, **fields)
        assert response.status_code == status, response.text
        assert response.json()["error"]["param"] == param
    assert not fake.engine.open


def test_bad_questions_about_a_response(fake: FakeServer) -> None:
    made = post(fake).json()["id"]
    for path, status, param in (
        ("/v1/responses/resp_0", 404, "response_id"),
        (f"/v1/responses/{made}?stream=yes", 400, "stream"),
        (f"/v1/responses/{made}?stream=true", 400, "stream"),
        (f"/v1/responses/{made}/input_items?limit=0", 400, "limit"),
        (f"/v1/responses/{made}/input_items?limit=x", 400, "limit"),
        (f"/v1/responses/{made}/input_items?order=up", 400, "order"),
        (f"/v1/responses/{made}/input_items?after=x", 400, "after"),
    ):
        response = fake.http.get(path)
        assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    response = fake.http.post(f"/v1/responses/{made}/cancel")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "response_id")


def test_a_response_belongs_to_a_key() -> None:
    with fake_server(ServerArgs(api_key=["mine", "yours"])) as fake:
        mine, yours = ({"Authorization": f"Bearer {key}"} for key in ("mine", "yours"))
        made = fake.http.post("/v1/responses", json={"input": "hi"}, headers=mine).json()["id"]
        assert fake.http.get(f"/v1/responses/{made}", headers=mine).status_code == 200
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            answer = fake.http.request(method, f"/v1/responses/{made}{path}", headers=yours)
            assert answer.status_code == 404
        body = {"input": "hi", "previous_response_id": made}
        assert fake.http.post("/v1/responses", json=body, headers=yours).status_code == 404


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with run_server("--reasoning-parser", "auto", log=tmp_path_factory.mktemp("responses") / "log") as running:
        yield running


@pytest.fixture(scope="module")
def client(served: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.openai_url, api_key="none", max_retries=0, timeout=60)


MODEL = "penstock-tiny"


def test_the_bundled_model_answers(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="What is Penstock?", temperature=0, max_output_tokens=60)
    assert whole.status == "completed"
    with client.responses.stream(model=MODEL, input="What is Penstock?", temperature=0, max_output_tokens=60) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        last = stream.get_final_response()
    assert text == last.output_text == whole.output_text
    assert text
    chat = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "What is Penstock?"}], temperature=0, max_tokens=60
    )
    assert chat.choices[0].message.content == text
    again = client.responses.create(
        model=MODEL, input="And?", instructions="Be brief. " * 60, previous_response_id=whole.id, max_output_tokens=4
    )
    again = client.responses.create(
        model=MODEL, input="So?", instructions="Be brief. " * 60, previous_response_id=again.id, max_output_tokens=4
    )
    assert again.usage is not None
    assert again.usage.input_tokens_details.cached_tokens > 0


def test_the_bundled_model_in_an_agents_loop(client: openai.OpenAI) -> None:
    tools: Any = [TOOL, *OTHER_TOOLS]
    items: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    asked = client.responses.create(model=MODEL, input=items, tools=tools, temperature=0, store=False)
    call = asked.output[-1]
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    with client.responses.stream(model=MODEL, input=items, tools=tools, temperature=0, store=False) as stream:
        streamed = stream.get_final_response().output
    assert [i.type for i in streamed] == [i.type for i in asked.output]
    assert streamed[-1].type == "function_call"
    assert streamed[-1].arguments == call.arguments
    items += [i.to_dict() for i in asked.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees, sunny"})
    said = client.responses.create(model=MODEL, input=items, tools=tools, temperature=0, store=False)
    assert "sunny" in said.output_text
    named: Any = {"type": "function", "name": "get_weather"}
    for choice in (named, "required"):
        forced = client.responses.create(
            model=MODEL, input=items[0]["content"], tools=tools, tool_choice=choice, temperature=0
        )
        assert "city" in json.loads(next(i for i in forced.output if i.type == "function_call").arguments)


class Person(BaseModel):
    name: str
    age: int


def test_the_bundled_model_in_a_schema(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(
        model=MODEL, input="Ann is 30 years old.", text_format=Person, max_output_tokens=200
    )
    assert isinstance(parsed.output_parsed, Person)
    with client.responses.stream(model=MODEL, input="Ann is 30.", text_format=Person, max_output_tokens=200) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Person)


def test_the_bundled_model_thinks(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model=MODEL,
        input="What is 2+3?",
        temperature=0,
        extra_body={"chat_template_kwargs": {"enable_thinking": True}},
    )
    assert [i.type for i in response.output] == ["reasoning", "message"]
    with client.responses.stream(
        model=MODEL,
        input="What is 2+3?",
        temperature=0,
        reasoning={"summary": "auto"},
        extra_body={"chat_template_kwargs": {"enable_thinking": True}},
    ) as stream:
        thought = "".join(e.delta for e in stream if e.type == "response.reasoning_summary_text.delta")
        last = stream.get_final_response()
    assert last.output_text == response.output_text
    assert last.usage is not None
    reasoning = last.output[0]
    assert reasoning.type == "reasoning"
    assert [s.text for s in reasoning.summary] == [thought]
    assert response.usage is not None
    assert response.usage.output_tokens_details.reasoning_tokens > 0


def test_cancelling_frees_the_engine(served: RunningServer, client: openai.OpenAI) -> None:
    def running() -> float:
        text = httpx.get(served.url + "/metrics").text
        gauges = re.findall(r"^penstock:(?:num_requests_running|kv_cache_usage_perc)\{.*\} (\S+)$", text, re.MULTILINE)
        assert len(gauges) == 2
        return sum(map(float, gauges))

    fields: Any = {"model": MODEL, "input": "Tell a story.", "max_output_tokens": 2000}
    made = [
        client.responses.create(**fields, background=True, extra_body={"ignore_eos": True, "seed": n}) for n in range(4)
    ]
    until(lambda: running() > 1)
    assert {client.responses.cancel(m.id).status for m in made} == {"cancelled"}
    until(lambda: running() == 0)
    assert all(client.responses.retrieve(m.id).status == "cancelled" for m in made)
