"""The answer objects of the OpenAI routes, as msgspec structs: every member is sent, nulls included.

Only non-streaming answers are built from these; `chat_stream.py` and `completion_stream.py` write their chunks by hand.
"""

from __future__ import annotations

import msgspec


class PromptTokensDetails(msgspec.Struct):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct):
    reasoning_tokens: int


class Usage(msgspec.Struct):
    """Tokens of a request.

    Attributes:
        prompt_tokens_details: only with --enable-prompt-tokens-details.
        completion_tokens_details: only where a reasoning parser tells which tokens are reasoning.
    """

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: list[TopLogprob]


class ChatLogprobs(msgspec.Struct):
    content: list[ChatTokenLogprob]


class ChatMessage(msgspec.Struct):
    role: str
    content: str | None
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class FunctionCall(msgspec.Struct):
    """`arguments` is a JSON text."""

    name: str
    arguments: str


class ChatToolCall(msgspec.Struct):
    id: str
    function: FunctionCall
    type: str = "function"


class ChatToolMessage(ChatMessage, kw_only=True):
    """A message with calls; one without has no such member."""

    tool_calls: list[ChatToolCall]


class ChatChoice(msgspec.Struct):
    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: str | None
    stop_reason: int | str | None
    token_ids: list[int] | None = None
    routed_experts: None = None


class PromptLogprob(msgspec.Struct):
    logprob: float
    rank: int | None
    decoded_token: str | None


PromptLogprobs = list[dict[int, PromptLogprob] | None]


class ChatCompletion(msgspec.Struct, kw_only=True):
    """Answer of POST /v1/chat/completions."""

    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    service_tier: None = None
    system_fingerprint: str | None = None
    usage: Usage
    prompt_logprobs: PromptLogprobs | None = None
    prompt_token_ids: list[int] | None = None
    prompt_text: None = None
    kv_transfer_params: None = None
    ec_transfer_params: None = None
    metrics: None = None


class CompletionLogprobs(msgspec.Struct):
    text_offset: list[int]
    token_logprobs: list[float | None]
    tokens: list[str]
    top_logprobs: list[dict[str, float] | None]


class CompletionChoice(msgspec.Struct):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    stop_reason: int | str | None
    token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None
    prompt_token_ids: list[int] | None = None
    routed_experts: None = None


class Completion(msgspec.Struct, kw_only=True):
    """Answer of POST /v1/completions."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    service_tier: None = None
    system_fingerprint: str | None = None
    usage: Usage
    kv_transfer_params: None = None
    ec_transfer_params: None = None
    metrics: None = None


class ModelPermission(msgspec.Struct, kw_only=True):
    id: str
    object: str = "model_permission"
    created: int
    allow_create_engine: bool = False
    allow_sampling: bool = True
    allow_logprobs: bool = True
    allow_search_indices: bool = False
    allow_view: bool = True
    allow_fine_tuning: bool = False
    organization: str = "*"
    group: None = None
    is_blocking: bool = False


class ModelCard(msgspec.Struct, kw_only=True):
    id: str
    object: str = "model"
    created: int
    owned_by: str = "penstock"
    root: str
    parent: str | None = None
    max_model_len: int
    permission: list[ModelPermission]
    # What Anthropic's clients look for.
    type: str = "model"
    display_name: str
    created_at: str
    max_input_tokens: int
    max_tokens: int


class ModelList(msgspec.Struct, kw_only=True):
    """Answer of GET /v1/models."""

    object: str = "list"
    data: list[ModelCard]
    has_more: bool = False  # this and the rest as Anthropic has them
    first_id: str
    last_id: str


class TokenizeAnswer(msgspec.Struct):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeAnswer(msgspec.Struct):
    prompt: str


class ErrorObject(msgspec.Struct):
    """`code` is the HTTP status."""

    message: str
    type: str
    param: str | None
    code: int


class ErrorAnswer(msgspec.Struct):
    """Body of every error."""

    error: ErrorObject
