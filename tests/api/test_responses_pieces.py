"""What responses are made of, as plain data: output items and their events, input items, the store."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from parser_transcripts import TRANSCRIPTS, Transcript

from penstock.entrypoints.openai.responses_input import chat_messages, continues_last, read_items
from penstock.entrypoints.openai.responses_output import EventLog, Output
from penstock.entrypoints.openai.responses_store import ResponseStore, StoredResponse
from penstock.errors import ClientError, NotFoundError
from penstock.parsers.events import ArgumentsDelta, ContentDelta, Event, ReasoningDelta, ToolCallEnd, ToolCallStart
from penstock.parsers.registry import TOOL_PARSERS

Json = dict[str, Any]
ANSWER: list[Event] = [
    ReasoningDelta("Hm"),
    ReasoningDelta("."),
    ContentDelta("I "),
    ContentDelta("look."),
    ToolCallStart(0, "call_1", "weather"),
    ArgumentsDelta(0, '{"city": '),
    ArgumentsDelta(0, '"Paris"}'),
    ToolCallEnd(0),
    ContentDelta("Done"),
]


def told(events: list[Event], complete: bool = True, **options: bool) -> tuple[list[Json], list[Json]]:
    """The output items, and the stream's events."""
    log = EventLog()
    output = Output("k", log, **options)
    for event in events:
        output.feed([event])
    output.finish(complete)
    stream = [piece.decode().split("\n") for piece in log.take()]
    for line, data, *rest in stream:
        assert line == "event: " + json.loads(data.removeprefix("data: "))["type"]
        assert rest == ["", ""]
    return msgspec.to_builtins(output.items()), [json.loads(data.removeprefix("data: ")) for _, data, *_ in stream]


def replayed(stream: list[Json]) -> list[Json]:
    """Output items as a client puts them together from nothing but deltas; each `done` must agree."""
    items: list[Json] = []
    for n, event in enumerate(stream):
        assert event["sequence_number"] == n
        kind, at = event["type"].removeprefix("response."), event["output_index"]
        item = items[at] if at < len(items) else {}
        match kind:
            case "output_item.added":
                assert at == len(items)
                assert event["item"]["status"] == "in_progress"
                items.append(event["item"])
            case "content_part.added":
                assert event["content_index"] == len(item["content"])
                item["content"].append(event["part"])
            case "reasoning_summary_part.added":
                item["summary"].append(event["part"])
            case "output_text.delta" | "reasoning_text.delta":
                item["content"][event["content_index"]]["text"] += event["delta"]
            case "reasoning_summary_text.delta":
                item["summary"][event["summary_index"]]["text"] += event["delta"]
            case "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            case "output_text.done" | "reasoning_text.done":
                assert event["text"] == item["content"][0]["text"]
            case "content_part.done":
                assert event["part"] == item["content"][0]
            case "reasoning_summary_text.done":
                assert event["text"] == item["summary"][0]["text"]
            case "reasoning_summary_part.done":
                assert event["part"] == item["summary"][0]
            case "function_call_arguments.done":
                assert event["arguments"] == item["arguments"]
            case "output_item.done":
                for member in {"status", "encrypted_content"} & item.keys():
                    item[member] = event["item"][member]  # these come with the end only
                assert event["item"] == item
            case _:
                pytest.fail(kind)
        assert event.get("item_id", items[at]["id"]) == items[at]["id"]
    return items


@pytest.mark.parametrize("options", [{}, {"summarize": True}, {"seal": True}], ids=str)
def test_the_events_make_the_items(options: dict[str, bool]) -> None:
    for complete in (True, False):
        for length in range(len(ANSWER) + 1):
            items, stream = told(ANSWER[:length], complete, **options)
            assert replayed(stream) == items
    kinds = [i["type"] for i in items]
    assert kinds == ["reasoning", "message", "function_call", "message"]
    assert [i["status"] for i in items] == ["completed", "completed", "completed", "incomplete"]
    assert items[2]["arguments"] == '{"city": "Paris"}'
    assert len({i["id"] for i in items}) == 4


def test_the_order_of_the_events() -> None:
    kinds = [e["type"].removeprefix("response.") for e in told(ANSWER[:8], summarize=True)[1]]
    assert kinds == [
        "output_item.added", "content_part.added", "reasoning_summary_part.added",
        *["reasoning_text.delta", "reasoning_summary_text.delta"] * 2,
        "reasoning_text.done", "content_part.done",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip


def test_a_model_that_says_nothing_says_an_empty_text() -> None:
    (item,), _ = told([])
    assert item["content"][0]["text"] == ""
    assert told([], complete=False)[0] == []


def without_ids(items: list[Json]) -> list[Json]:
    return [{k: v for k, v in i.items() if k not in ("id", "call_id")} for i in items]


def items_of(case: Transcript, pieces: list[str]) -> list[Json]:
    parser = TOOL_PARSERS.get(case.parser)(case.tools)
    output = Output("k", None)
    for piece in pieces:
        output.feed(parser.feed(piece))
    output.feed(parser.finish())
    output.finish(True)
    return without_ids(msgspec.to_builtins(output.items()))


@pytest.mark.parametrize("case", TRANSCRIPTS, ids=str)
def test_the_items_are_the_same_however_the_text_is_cut(case: Transcript) -> None:
    whole = items_of(case, [case.text])
    assert items_of(case, list(case.text)) == whole
    step = max(1, len(case.text) // 100)
    for i in range(0, len(case.text), step):
        assert items_of(case, [case.text[:i], case.text[i:]]) == whole


def not_there(item_id: str) -> Json:
    raise NotFoundError(item_id)


def read(*items: Json) -> list[Json]:
    return read_items(list(items), "k", not_there)


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "7"}
USER = {"role": "user", "content": "hi"}
TOOL_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
THOUGHT = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}


def test_a_turn_of_the_assistant_is_one_message() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]}
    messages = chat_messages(read(USER, THOUGHT, said, CALL, {**CALL, "call_id": "c2"}, RESULT, USER), "Be brief.")
    second = {**TOOL_CALL, "id": "c2"}
    assert messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "I look.", "reasoning": "Hm.", "tool_calls": [TOOL_CALL, second]},
        {"role": "tool", "tool_call_id": "c1", "content": "7", "name": "f"},
        {"role": "user", "content": "hi"},
    ]


def test_what_is_said_before_the_user_is_one_message() -> None:
    rules = {"role": "developer", "content": [{"type": "input_text", "text": t} for t in ("No jokes.", "No fun.")]}
    messages = chat_messages(read(rules, USER, rules), "Be brief.")
    assert messages[:2] == [{"role": "system", "content": "Be brief.\n\nNo jokes.\nNo fun."}, USER]
    assert messages[2]["role"] == "developer"
    assert chat_messages(read({"role": "developer", "content": "x"}), None) == [{"role": "developer", "content": "x"}]


def test_what_comes_later_in_a_turn_begins_another_message() -> None:
    said = {"role": "assistant", "content": "So."}
    messages = chat_messages(read(CALL, said, THOUGHT, THOUGHT), None)
    assert messages == [
        {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
        {"role": "assistant", "content": "So."},
        {"role": "assistant", "content": None, "reasoning": "Hm.Hm."},
    ]


@pytest.mark.parametrize(
    ("item", "reasoning"),
    [
        ({"summary": [{"type": "summary_text", "text": "short"}], "encrypted_content": "gAAAA"}, "short"),
        (
            {"summary": [{"type": "summary_text", "text": "short"}], "content": [{"type": "text", "text": "long"}]},
            "long",
        ),
        ({"summary": []}, None),
    ],
)
def test_reasoning_comes_back(item: Json, reasoning: str | None) -> None:
    messages = chat_messages(read({"type": "reasoning", **item}, {"role": "assistant", "content": "a"}), None)
    assert messages[0].get("reasoning") == reasoning


def test_sealed_reasoning_comes_back_without_its_content() -> None:
    item = told([ReasoningDelta("Hm. \u00e9")], seal=True)[0][0]
    messages = chat_messages(read({**item, "content": None}), None)
    assert messages == [{"role": "assistant", "content": None, "reasoning": "Hm. \u00e9"}]


def test_items_of_other_tools_are_kept_but_not_told() -> None:
    items = read({"type": "web_search_call", "id": "ws_1", "action": {}}, {"type": "local_shell_call"}, USER)
    assert [i["id"] for i in items] == ["ws_1", "item_k_in1", "msg_k_in2"]
    assert chat_messages(items, None) == [{"role": "user", "content": "hi"}]


def test_arguments_that_are_no_object_reach_the_template_as_one() -> None:
    for text in ('{"a": ', "[1]", "x"):
        (message,) = chat_messages(read({**CALL, "arguments": text}), None)
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"arguments": text}
    assert chat_messages(read({**CALL, "status": "incomplete"}), None) == []
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"}
    (message,) = chat_messages(read(custom), None)
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"input": "*** Begin"}


def test_what_a_call_returned_has_several_forms() -> None:
    parts = [{"type": "input_text", "text": "7"}]
    for output in ("7", parts, {"content": "7", "success": False}):
        assert chat_messages(read({**RESULT, "output": output}), None)[0]["content"] == "7"
    two = chat_messages(read({**RESULT, "output": parts * 2}), None)[0]["content"]
    assert two == [{"type": "text", "text": "7"}] * 2


def test_an_unfinished_message_of_the_assistant_is_continued() -> None:
    said = {"role": "assistant", "content": "It was", "status": "in_progress"}
    assert continues_last(read(USER, said))
    assert not continues_last(read(said, USER))
    assert not continues_last(read(USER, {**said, "status": "completed"}))
    assert not continues_last(read(USER, {**said, "content": " "}))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"type": 1}, "input[1].type"),
        ({"role": 1, "content": "x"}, "input[1].role"),
        ({"role": "user"}, "input[1].content"),
        ({"role": "user", "content": [{"text": "x"}]}, "input[1].content[0]"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[1].content[0].text"),
        ({"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}, "input_image"),
        ({**CALL, "call_id": None}, "input[1].call_id"),
        ({**CALL, "arguments": {}}, "input[1].arguments"),
        ({**RESULT, "output": None}, "input[1].output"),
        ({"type": "reasoning", "content": "x"}, "input[1].content"),
        ({}, "input[1].id"),
        ({"type": "item_reference", "id": "msg_1"}, "msg_1"),
    ],
)
def test_items_of_no_known_form_are_named(item: Json, words: str) -> None:
    with pytest.raises(ClientError) as caught:
        read(USER, item)
    assert words in caught.value.message


def stored(name: str, size: int = 10, tenant: str | None = None) -> StoredResponse:
    body = json.dumps({"output": [{"id": f"msg_{name}_0", "text": "x" * size}]}).encode()
    return StoredResponse(f"resp_{name}", tenant, b"[]", lambda: body, background=True, streamed=True)


def finished(name: str, size: int = 10, tenant: str | None = None) -> StoredResponse:
    response = stored(name, size, tenant)
    response.finish()
    return response


def test_the_store_forgets_the_oldest_finished_ones() -> None:
    store = ResponseStore(max_responses=3, max_bytes=4000)
    running = stored("r")
    store.add_running(running)
    for name in "abcd":
        store.keep(finished(name))
    with pytest.raises(NotFoundError):
        store.get("resp_a", None)
    assert store.get("resp_b", None)
    store.keep(finished("e", size=3940))
    assert store.get("resp_e", None)
    with pytest.raises(NotFoundError):
        store.get("resp_d", None)
    store.keep(finished("f", size=5000))
    with pytest.raises(NotFoundError):
        store.get("resp_f", None)
    assert store.get("resp_r", None) is running
    running.finish()
    store.settle(running)
    assert store.get("resp_r", None) is running
    find = store.finder(None)
    assert find("msg_r_0")["id"] == "msg_r_0"
    with pytest.raises(ClientError, match="twice"):
        find("msg_r_0")


def test_the_store_knows_whose_a_response_is() -> None:
    store = ResponseStore()
    mine = finished("a", tenant="me")
    store.keep(mine)
    assert store.get("resp_a", "me") is mine
    for tenant in ("you", None):
        with pytest.raises(NotFoundError):
            store.get("resp_a", tenant)
        with pytest.raises(NotFoundError):
            store.finder(tenant)("msg_a_0")
    store.delete(mine)
    store.settle(mine)
    with pytest.raises(NotFoundError):
        store.get("resp_a", "me")


def test_a_response_that_is_cancelled_at_once_has_begun_and_ends() -> None:
    async def main() -> list[str]:
        steps: list[str] = []
        response = stored("a")

        async def work() -> None:
            try:
                steps.append("begun")
                await asyncio.sleep(60)
            finally:
                steps.append("ended")

        response.make(work())
        await response.cancel()
        return steps

    assert asyncio.run(main()) == ["begun", "ended"]
