"""A request for a response as the chat completion that makes it: tools, choices, formats and limits in chat's words.

Knows neither input items nor answers. An error names the field of /v1/responses that is at fault.
"""

from __future__ import annotations

from typing import Any

from penstock.entrypoints.openai.responses_types import ResponsesRequest
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError

Json = dict[str, Any]

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
_SUMMARIES = ("auto", "concise", "detailed")
_PASSED = (
    "model",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "min_tokens",
    "logit_bias",
    "allowed_token_ids",
    "bad_words",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "priority",
    "cache_salt",
    "chat_template",
    "chat_template_kwargs",
    "thinking_token_budget",
    "structured_outputs",
    "vllm_xargs",
    "kv_transfer_params",
    "parallel_tool_calls",
)
# Fields of a chat completion -> those of a response that they are made from.
_RENAMED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "top_logprobs",
    "continue_final_message": "input",
}


def check(body: ResponsesRequest) -> None:
    """Raise ClientError for what only /v1/responses has and what is out of range or cannot be combined."""
    if body.prompt is not None:
        raise ClientError("this server keeps no prompt templates: send the text in `input`.", "prompt")
    if body.conversation is not None:
        raise ClientError("this server keeps no conversations: use `previous_response_id`.", "conversation")
    if body.background and body.store is False:
        raise ClientError("background can only be used when `store` is true.", "background")
    if body.stream_options is not None and not body.stream:
        raise ClientError("Stream options can only be defined when `stream=True`.", "stream_options")
    for name in ("max_output_tokens", "max_tool_calls"):
        value = getattr(body, name)
        if value is not None and value < 1:
            raise ClientError(f"{name} must be at least 1, got {value}.", name)
    if body.top_logprobs is not None and not 0 <= body.top_logprobs <= 20:
        raise ClientError(f"top_logprobs must be in 0..20, got {body.top_logprobs}.", "top_logprobs")
    if body.truncation not in (None, "auto", "disabled"):
        raise ClientError('truncation must be "auto" or "disabled".', "truncation", body.truncation)
    _check_metadata(body.metadata or {})
    reasoning = body.reasoning or {}
    effort, summary = reasoning.get("effort"), reasoning_summary(body)
    if effort is not None and not isinstance(effort, str):
        raise ClientError("reasoning.effort must be a string.", "reasoning.effort")
    if summary is not None and summary not in _SUMMARIES:
        raise ClientError("reasoning.summary must be auto, concise or detailed.", "reasoning.summary", summary)


def reasoning_summary(body: ResponsesRequest) -> Any:
    """The kind of summary that is asked for; None for no summary."""
    reasoning = body.reasoning or {}
    return reasoning.get("summary") or reasoning.get("generate_summary")


def wants_logprobs(body: ResponsesRequest) -> bool:
    return LOGPROBS in (body.include or ()) or bool(body.top_logprobs)


def chat_request(body: ResponsesRequest, messages: list[Json], stream: bool) -> ChatRequest:
    """The chat completion behind a response.

    Args:
        messages: the conversation.
        stream: whether the engine tells every token.

    Raises:
        ClientError: tools, their choice or the format of the text are malformed.
    """
    tools, choice = _tools(body)
    logprobs = wants_logprobs(body)
    return ChatRequest(
        **{name: getattr(body, name) for name in _PASSED},
        messages=messages,
        max_completion_tokens=body.max_output_tokens,
        tools=tools,
        tool_choice=choice,
        reasoning_effort=(body.reasoning or {}).get("effort"),
        response_format=_response_format(body.text or {}),
        logprobs=logprobs or None,
        top_logprobs=body.top_logprobs if logprobs else None,
        stream=stream,
    )


def renamed(error: ClientError) -> ClientError:
    """The same error of a chat completion, with the name of the field that the client sent."""
    error.param = _RENAMED.get(error.param or "", error.param)
    return error


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
        raise ClientError("metadata may have 16 pairs, keys of 64 and values of 512 characters.", "metadata")


def _tools(body: ResponsesRequest) -> tuple[list[Json] | None, str | Json | None]:
    """The functions among the tools, and the choice between them. Other kinds of tools are not the model's to call."""
    functions = [_function(t, i) for i, t in enumerate(body.tools or []) if t.get("type") == "function"]
    choice = body.tool_choice
    if isinstance(choice, dict):
        choice, functions = _chosen(choice, functions)
    elif choice not in (None, "none", "auto", "required"):
        raise ClientError('tool_choice must be "none", "auto", "required" or an object.', "tool_choice", choice[:80])
    return functions or None, choice


def _function(tool: Json, index: int) -> Json:
    given = tool.get("function")
    function = given if isinstance(given, dict) else tool
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not name:
        raise ClientError(f"tools[{index}] must have a name.", "tools")
    if parameters is not None and not isinstance(parameters, dict):
        raise ClientError(f"tools[{index}].parameters must be a JSON schema: an object.", "tools")
    members = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {m: function[m] for m in members if function.get(m) is not None}}


def _chosen(choice: Json, functions: list[Json]) -> tuple[str | Json, list[Json]]:
    kind = choice.get("type")
    if kind == "function":
        named = choice.get("function")
        name = (named if isinstance(named, dict) else choice).get("name")
        return {"type": "function", "function": {"name": name}}, functions
    if kind == "allowed_tools":
        allowed, mode = choice.get("tools"), choice.get("mode", "auto")
        if mode not in ("auto", "required") or not isinstance(allowed, list):
            raise ClientError("tool_choice must have a mode, auto or required, and a list of tools.", "tool_choice")
        names = [t.get("name") for t in allowed if isinstance(t, dict) and t.get("type") == "function"]
        return mode, [f for f in functions if f["function"]["name"] in names]
    raise ClientError(
        f"tool_choice cannot be of type {str(kind)[:40]!r}: models here call functions only.", "tool_choice"
    )


def _response_format(text: Json) -> Json | None:
    given = text.get("format")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise ClientError("text.format must be an object with a type.", "text.format")
    if given.get("type") != "json_schema":
        return given
    if not isinstance(given.get("schema"), dict):
        raise ClientError("text.format of type json_schema must have a schema: an object.", "text.format")
    return {"type": "json_schema", "json_schema": {k: v for k, v in given.items() if k != "type"}}
