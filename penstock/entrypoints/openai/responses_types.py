"""The wire types of /v1/responses: the request as it comes, responses, items and usage as they go.

Members have OpenAI's names; a request may also carry vLLM's sampling fields. Null means the default, unknown members
are ignored. Ranges and combinations are checked by `responses_request.py`, input items by `responses_input.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.entrypoints.openai.answers import ChatTokenLogprob
from penstock.entrypoints.openai.types import Int, Json, Name


class ResponsesRequest(msgspec.Struct, kw_only=True):
    """POST /v1/responses."""

    input: str | list[Json]
    model: Name | None = None
    instructions: str | None = None
    previous_response_id: Name | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: Json | None = None
    max_output_tokens: Int | None = None
    max_tool_calls: Int | None = None  # counts calls of tools that the server runs itself: there are none
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: Json | None = None
    reasoning: Json | None = None
    include: list[str] | None = None
    top_logprobs: Int | None = None
    truncation: Name | None = None
    metadata: dict[str, str] | None = None
    service_tier: Any = None  # there is one
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Any = None  # what is cached stays as long as there is room
    prompt: Json | None = None
    conversation: str | Json | None = None
    temperature: float | None = None
    top_p: float | None = None
    # Fields of vLLM, as in chat completions.
    top_k: Int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: Int | None = None
    stop: str | list[str | None] | None = None
    stop_token_ids: list[Int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    min_tokens: Int | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[Int] | None = None
    bad_words: list[str] | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    priority: Int | None = None
    cache_salt: str | None = None
    chat_template: str | None = None
    chat_template_kwargs: Json | None = None
    thinking_token_budget: Int | None = None
    structured_outputs: Json | None = None
    vllm_xargs: Json | None = None
    kv_transfer_params: Json | None = None


class OutputText(msgspec.Struct, tag="output_text"):
    text: str
    annotations: list[Json] = []
    logprobs: list[ChatTokenLogprob] = []


class MessageItem(msgspec.Struct, tag="message"):
    """What the model says to the user. `status` of every item: in_progress, completed, or incomplete if it was cut."""

    id: str
    status: str
    content: list[OutputText]
    role: str = "assistant"


class ReasoningText(msgspec.Struct, tag="reasoning_text"):
    text: str


class SummaryText(msgspec.Struct, tag="summary_text"):
    text: str


class ReasoningItem(msgspec.Struct, tag="reasoning"):
    """What the model says to itself. `summary` only if one was asked for, `encrypted_content` likewise."""

    id: str
    status: str
    summary: list[SummaryText]
    content: list[ReasoningText]
    encrypted_content: str | None = None


class FunctionCallItem(msgspec.Struct, tag="function_call"):
    """A call of one of the request's functions; `arguments` is a JSON text."""

    id: str
    status: str
    call_id: str
    name: str
    arguments: str


OutputItem = MessageItem | ReasoningItem | FunctionCallItem


class InputTokensDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(msgspec.Struct):
    reasoning_tokens: int


class ResponseUsage(msgspec.Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseFailure(msgspec.Struct):
    code: str
    message: str


class IncompleteDetails(msgspec.Struct):
    reason: str


class ResponseObject(msgspec.Struct, kw_only=True):
    """A response. `status`: queued, in_progress, completed, incomplete, failed or cancelled."""

    id: str
    object: str = "response"
    created_at: int
    completed_at: int | None = None
    status: str
    background: bool
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    previous_response_id: str | None
    prompt_cache_key: str | None
    reasoning: Json
    safety_identifier: str | None
    service_tier: str = "default"
    store: bool
    temperature: float
    text: Json
    tool_choice: str | Json
    tools: list[Json]
    top_logprobs: int
    top_p: float
    truncation: str
    usage: ResponseUsage | None = None
    user: str | None
    metadata: dict[str, str]


class DeletedResponse(msgspec.Struct):
    id: str
    object: str = "response"
    deleted: bool = True


class InputItemList(msgspec.Struct):
    data: list[Json]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


class InputTokenCount(msgspec.Struct):
    input_tokens: int
    object: str = "response.input_tokens"
