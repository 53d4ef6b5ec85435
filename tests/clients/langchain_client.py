"""LangChain's clients against running servers: a section per function, each told whether it held.

    python langchain_client.py URL_OF_THE_GENERATOR URL_OF_THE_EMBEDDER

Prints one JSON object: section -> what went wrong, or null. Runs in the environment of scripts/test_clients.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

MODEL = "penstock-tiny"
QUESTION = "What is 2 plus 3?"


class Person(BaseModel):
    """A person."""

    name: str = Field(description="the first name")
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


def chat(**options: Any) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=URL + "/v1", api_key="none", temperature=0, max_retries=0, **options)


def invoke() -> None:
    answer = chat(max_tokens=20).invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    assert isinstance(answer, AIMessage)
    assert answer.content
    used = answer.usage_metadata
    assert used["total_tokens"] == used["input_tokens"] + used["output_tokens"]
    assert answer.response_metadata["finish_reason"] in ("stop", "length")
    assert answer.response_metadata["model_name"] == MODEL


def stream() -> None:
    model = chat(max_tokens=20, stream_usage=True)
    chunks = list(model.stream(QUESTION))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert len(chunks) > 3
    assert whole.content == model.invoke(QUESTION).content
    assert whole.usage_metadata["output_tokens"] > 0


def many_at_once() -> None:
    answers = asyncio.run(chat(max_tokens=8).abatch([QUESTION] * 6))
    assert len({a.content for a in answers}) == 1


def logprobs() -> None:
    answer = chat(max_tokens=4, logprobs=True, top_logprobs=2).invoke(QUESTION)
    found = answer.response_metadata["logprobs"]["content"]
    assert found[0]["logprob"] == max(t["logprob"] for t in found[0]["top_logprobs"])


def a_tool_that_must_be_called() -> None:
    model = chat(max_tokens=120).bind_tools([get_weather], tool_choice="get_weather")
    question = HumanMessage("How is the weather in Paris?")
    answer = model.invoke([question])
    [call] = answer.tool_calls
    assert call["name"] == "get_weather"
    assert isinstance(call["args"]["city"], str)
    result = get_weather.invoke(call)
    assert isinstance(result, ToolMessage)
    assert chat(max_tokens=20).bind_tools([get_weather]).invoke([question, answer, result]).content is not None


def a_streamed_tool_call() -> None:
    model = chat(max_tokens=120).bind_tools([get_weather], tool_choice="any")
    whole = None
    for chunk in model.stream("How is the weather in Paris?"):
        whole = chunk if whole is None else whole + chunk
    [call] = whole.tool_calls
    assert call["name"] == "get_weather"
    assert set(call["args"]) == {"city"}


def structured_output() -> None:
    for method in ("json_schema", "function_calling"):
        model = chat(max_tokens=200).with_structured_output(Person, method=method, include_raw=True)
        found = model.invoke("Anna is 30 years old. Who is it?")
        if found["parsing_error"] is None:
            assert isinstance(found["parsed"], Person), method
        else:  # the model is small, and may talk until there is no room left
            assert found["raw"].response_metadata["finish_reason"] == "length", (method, found)


def responses() -> None:
    answer = chat(max_tokens=20, use_responses_api=True).invoke(QUESTION)
    assert answer.text
    streamed = list(chat(max_tokens=20, use_responses_api=True).stream(QUESTION))
    assert "".join(c.text for c in streamed) == answer.text


def plain_completions() -> None:
    model = OpenAI(model=MODEL, base_url=URL + "/v1", api_key="none", temperature=0, max_tokens=6, max_retries=0)
    text = model.invoke("The capital of France is")
    assert text
    assert "".join(model.stream("The capital of France is")) == text


def a_wrong_request() -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat(top_p=7).invoke(QUESTION)
    assert refused.value.param == "top_p"


def embeddings() -> None:
    texts = ["the cat", "a dog", "the cat"]
    model = OpenAIEmbeddings(
        model="embedder", base_url=EMBEDDER + "/v1", api_key="none", check_embedding_ctx_length=False, max_retries=0
    )
    vectors = model.embed_documents(texts)
    assert vectors[0] == vectors[2] != vectors[1]
    assert model.embed_query("the cat") == vectors[0]
    assert asyncio.run(model.aembed_documents(texts)) == vectors


SECTIONS = [
    *(invoke, stream, many_at_once, logprobs, a_tool_that_must_be_called, a_streamed_tool_call, structured_output),
    *(responses, plain_completions, a_wrong_request, embeddings),
]


def run(section: Any) -> str | None:
    try:
        section()
    except Exception:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    URL, EMBEDDER = sys.argv[1:]
    print(json.dumps({section.__name__: run(section) for section in SECTIONS}))
