"""The request bodies of the OpenAI routes, as msgspec structs with vLLM's field names.

Types are checked while the JSON is decoded, no more strictly than clients of other servers are used to: 16.0 and "16"
are 16. Null means the default for every optional field; unknown fields are ignored. Ranges and combinations are checked
by `sampling.py`, `chat_prompt.py` and `completions.py`, which name the field.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from penstock.params import RepetitionDetectionParams

Json = dict[str, Any]
Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # what fits every wire; ranges proper come later
Name = Annotated[str, msgspec.Meta(max_length=1024)]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class SamplingFields(msgspec.Struct, kw_only=True):
    """What chat and completions share."""

    model: Name | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    n: Int | None = None
    best_of: Int | None = None
    seed: Int | None = None
    stop: str | list[str | None] | None = None
    stop_token_ids: list[Int] | None = None
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    max_tokens: Int | None = None
    min_tokens: Int | None = None
    logit_bias: dict[str, float] | None = None
    allowed_token_ids: list[Int] | None = None
    bad_words: list[str] | None = None
    prompt_logprobs: Int | None = None
    repetition_detection: RepetitionDetectionParams | None = None
    logprob_token_ids: list[Int] | None = None
    skip_special_tokens: bool | None = None
    spaces_between_special_tokens: bool | None = None
    truncate_prompt_tokens: Int | None = None
    truncation_side: Name | None = None
    add_special_tokens: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stream_interval: Int | None = None
    priority: Int | None = None
    request_id: Name | None = None
    session_id: Any = None  # ignored: there is one engine
    cache_salt: str | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    echo: bool | None = None
    user: Any = None  # ignored
    use_beam_search: bool | None = None
    length_penalty: float | None = None
    early_stopping: bool | str | None = None
    response_format: Json | None = None
    structured_outputs: Json | None = None
    guided_json: str | Json | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None
    guided_decoding_backend: str | None = None
    structural_tag: str | Json | None = None
    # Known, and refused with a sentence until the part that honours them exists: see `sampling.UNSUPPORTED`.
    thinking_token_budget: Int | None = None
    watermarking: bool | None = None
    logits_processors: list[Any] | None = None
    kv_transfer_params: Json | None = None
    ec_transfer_params: Json | None = None
    vllm_xargs: Json | None = None


class ChatRequest(SamplingFields, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[Json]
    max_completion_tokens: Int | None = None
    logprobs: bool | None = None
    top_logprobs: Int | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Name | None = None
    include_reasoning: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    documents: list[Json] | None = None
    chat_template: str | None = None
    chat_template_kwargs: Json | None = None
    media_io_kwargs: Json | None = None
    mm_processor_kwargs: Json | None = None


class CompletionRequest(SamplingFields, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[Int | str | list[Int]] | None = None
    prompt_embeds: Any = None
    logprobs: Int | None = None
    suffix: str | None = None


class TokenizeRequest(msgspec.Struct, kw_only=True):
    """POST /tokenize: a prompt, or a chat."""

    model: Name | None = None
    prompt: str | None = None
    messages: list[Json] | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template: str | None = None
    chat_template_kwargs: Json | None = None
    tools: list[Json] | None = None
    documents: list[Json] | None = None
    reasoning_effort: Name | None = None


class DetokenizeRequest(msgspec.Struct, kw_only=True):
    """POST /detokenize."""

    tokens: list[Int]
    model: Name | None = None
