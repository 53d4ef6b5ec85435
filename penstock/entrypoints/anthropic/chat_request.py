"""A request of Anthropic's API as a request of chat completions, which is what a conversation is opened with."""

from __future__ import annotations

import re
from typing import Any

from penstock.entrypoints.anthropic.chat_messages import chat_messages, continues, ends_with_results
from penstock.entrypoints.anthropic.tools import chat_tool_choice, chat_tools
from penstock.entrypoints.anthropic.types import CountTokensRequest, MessagesRequest
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError, ContextLengthError
from penstock.parsers.reasoning.base import SWITCHES

Json = dict[str, Any]

MIN_BUDGET = 1024

# Fields of chat completions -> what the client calls them; the rest have the same name.
_FIELDS = {
    "stop": "stop_sequences",
    "response_format": "output_config.format",
    "reasoning_effort": "output_config.effort",
    "thinking_token_budget": "thinking.budget_tokens",
    "max_completion_tokens": "max_tokens",
    "continue_final_message": "messages",
}

# What the engine says of a prompt that leaves no room for an answer.
_TOO_LONG = re.compile(r"context length is (\d+) tokens.* (\d+) input tokens")


def in_own_words(error: ClientError) -> ClientError:
    """An error about the chat request as one about the request that the client sent."""
    if isinstance(error, ContextLengthError) and (found := _TOO_LONG.search(error.message)):
        # Agents look for these words: they then summarize the conversation, and go on.
        limit, tokens = int(found[1]) - 1, found[2]
        return ClientError(f"prompt is too long: {tokens} tokens > {limit} maximum")
    if error.param is not None:
        error.param = _FIELDS.get(error.param, error.param)
    error.message = error.message.replace("response_format.json_schema.schema", "output_config.format.schema")
    return error


def prompt_request(body: CountTokensRequest, reads_thinking: bool) -> ChatRequest:
    """What decides the prompt.

    Args:
        reads_thinking: the server can tell the model's thinking from its answer. Without that the model is not asked
            to think.

    Raises:
        ClientError: the request is malformed; `param` is a place in the body.
    """
    messages = chat_messages(body.system, body.messages)
    continued = continues(messages)
    output = body.output_config
    return ChatRequest(
        model=body.model,
        messages=messages,
        tools=chat_tools(body.tools),
        tool_choice=chat_tool_choice(body.tool_choice),
        add_generation_prompt=not continued,
        continue_final_message=continued,
        reasoning_effort=output.effort if output is not None else None,
        chat_template_kwargs=_thinking_switches(body, reads_thinking),
    )


def chat_request(body: MessagesRequest, max_model_len: int, reads_thinking: bool) -> ChatRequest:
    """The whole request.

    Args:
        max_model_len: agents ask for more tokens than small models have room for; they get what there is.
        reads_thinking: as above.

    Raises:
        ClientError: as above.
    """
    if body.max_tokens < 1:
        raise ClientError(f"max_tokens: must be at least 1, got {body.max_tokens}.", "max_tokens")
    chat = prompt_request(body, reads_thinking)
    chat.max_tokens = min(body.max_tokens, max_model_len)
    budget = _budget(body)
    chat.thinking_token_budget = budget if reads_thinking else None
    chat.include_reasoning = body.thinking is None or body.thinking.type != "disabled"
    chat.stop = [s for s in body.stop_sequences or [] if s]
    chat.stream = bool(body.stream)
    chat.temperature, chat.top_p, chat.top_k = body.temperature, body.top_p, body.top_k
    if body.tool_choice is not None and body.tool_choice.disable_parallel_tool_use:
        chat.parallel_tool_calls = False
    form = (body.output_config and body.output_config.format) or body.output_format
    if form is not None:
        schema = {"name": "answer", "schema": form.schema, "strict": True}
        chat.response_format = {"type": "json_schema", "json_schema": schema}
    return chat


def _thinking_switches(body: CountTokensRequest, reads_thinking: bool) -> Json | None:
    """Template variables that turn thinking on or off; None leaves it to the template."""
    thinking = body.thinking
    if thinking is None:
        return None
    wanted = thinking.type in ("enabled", "adaptive")
    if thinking.type == "between_tools":
        wanted = ends_with_results(body.messages)
    if wanted and not reads_thinking:
        return None
    return dict.fromkeys(SWITCHES, wanted)


def _budget(body: MessagesRequest) -> int | None:
    thinking = body.thinking
    if thinking is None or thinking.type != "enabled":
        return None
    budget = thinking.budget_tokens
    if budget is None or not MIN_BUDGET <= budget < body.max_tokens:
        raise ClientError(
            f"thinking.budget_tokens: must be at least {MIN_BUDGET} and less than max_tokens, got {budget}.",
            "thinking.budget_tokens",
        )
    return budget
