"""A request's sampling fields as SamplingParams: nulls become defaults, what cannot be honoured is refused."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from penstock.entrypoints.openai.beams import check_beams
from penstock.entrypoints.openai.structured import constraint_of
from penstock.entrypoints.openai.types import SamplingFields
from penstock.errors import ClientError
from penstock.params import MAX_SEQUENCES, RequestOutputKind, SamplingParams

DEFAULTED = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "stream_interval",
)
PASSED = (
    "n",
    "best_of",
    "seed",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "min_tokens",
    "allowed_token_ids",
    "bad_words",
    "prompt_logprobs",
    "logprob_token_ids",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "repetition_detection",
)
# Fields of vLLM that this server does not honour yet. A request that uses one is refused, never answered without it.
UNSUPPORTED = {
    "thinking_token_budget": "thinking_token_budget is for chats; completions are not read for reasoning.",
    "watermarking": "watermarking needs --watermark-config, which this server does not have.",
    "logits_processors": "logits_processors are not accepted in requests.",
    "kv_transfer_params": "kv_transfer_params need a KV connector, and this server has none.",
    "ec_transfer_params": "ec_transfer_params need an encoder-cache connector, and this server has none.",
    "vllm_xargs": "vllm_xargs are read by logits processors of the server, and it has none.",
}


def refuse_unsupported(request: SamplingFields, honoured: Collection[str] = ()) -> None:
    """Raise for the first field that is used and cannot be honoured."""
    for name, sentence in UNSUPPORTED.items():
        value = getattr(request, name)
        if value and name not in honoured:
            raise ClientError(sentence, name)
    check_beams(request)
    if request.stream_options is not None and not request.stream:
        raise ClientError("Stream options can only be defined when `stream=True`.", "stream_options")
    if request.prompt_logprobs is not None and request.stream:
        raise ClientError("`prompt_logprobs` are not available when `stream=True`.", "prompt_logprobs")


def sampling_params(
    request: SamplingFields,
    *,
    max_tokens: int | None,
    logprobs: int | None,
    defaults: dict[str, Any],
) -> SamplingParams:
    """What the engine is asked.

    Args:
        max_tokens: the limit of this request; None for what the context leaves.
        logprobs: alternatives per sampled token; None for no logprobs.
        defaults: the model's values for fields that are null.

    Raises:
        ClientError: a value is out of range; `param` names it.
    """
    fields: dict[str, Any] = {name: getattr(request, name) for name in PASSED}
    for name in DEFAULTED:
        value = getattr(request, name)
        fields[name] = defaults.get(name) if value is None else value
    if request.use_beam_search:  # nothing is sampled, so what says how to sample has no effect
        fields = {name: value for name, value in fields.items() if name not in DEFAULTED}
    if isinstance(request.stop, str):
        fields["stop"] = [request.stop] if request.stop else None
    elif request.stop:
        fields["stop"] = [s for s in request.stop if s is not None]
    fields["logit_bias"] = _logit_bias(request.logit_bias)
    fields["logprobs"] = logprobs
    fields["max_tokens"] = max_tokens
    fields["structured_outputs"] = constraint_of(request)
    fields["output_kind"] = RequestOutputKind.DELTA if request.stream else RequestOutputKind.FINAL_ONLY
    return SamplingParams.from_optional(**fields)


def _logit_bias(bias: dict[str, float] | None) -> dict[int, float] | None:
    if not bias:
        return None
    result: dict[int, float] = {}
    bad: list[str] = []
    for key, value in bias.items():
        if key.isdecimal() and key.isascii() and len(key) < 12:
            result[int(key)] = value
        else:
            bad.append(key)
    if bad:
        raise ClientError(
            f"logit_bias contains key(s) that cannot be converted to integer token IDs: {bad[:10]}", "logit_bias"
        )
    return result


def checked_max_tokens(given: int | None, max_model_len: int) -> int | None:
    """What a request gave, refused if no prompt at all would leave room for it; less than that is cut silently."""
    if given is not None and given > max_model_len:
        raise ClientError(
            f"max_tokens={given} cannot be greater than max_model_len={max_model_len}. "
            "Please request fewer output tokens.",
            "max_tokens",
        )
    return given


def check_total(prompts: int, n: int) -> None:
    """Refuse a request that asks for too many answers in all."""
    if prompts * n > MAX_SEQUENCES:
        raise ClientError(f"at most {MAX_SEQUENCES} answers can be asked for at once, got {prompts} x {n}.", "n")
