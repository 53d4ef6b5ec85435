"""What callers of `LLM` may pass in several forms: one of a thing or a list of them, and settings of the tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from penstock.engine.input_processor import Prompt
from penstock.errors import ClientError, UnsupportedError


class Tokenization(NamedTuple):
    """How a text becomes ids: with the model's own tokens around it, and cut to how many; -1 for what fits."""

    add_special_tokens: bool = True
    truncate: int | None = None


def tokenization(given: Mapping[str, Any] | None, default: Tokenization) -> Tokenization:
    """`tokenization_kwargs`, over a default.

    Raises:
        ClientError: it has a member that means nothing here.
    """
    settings = dict(given or {})
    special = settings.pop("add_special_tokens", default.add_special_tokens)
    keep = settings.pop("truncate_prompt_tokens", default.truncate)
    if settings:
        raise ClientError(f"tokenization_kwargs cannot have {next(iter(settings))!r}.", "tokenization_kwargs")
    return Tokenization(special, keep)


def prompt_list(prompts: Any) -> Sequence[Prompt]:
    """A list of prompts, from one prompt or many.

    Raises:
        ClientError: it is neither.
    """
    if isinstance(prompts, (str, Mapping)):
        return [prompts]
    if not isinstance(prompts, Iterable):
        raise ClientError(f"prompts must be one prompt or a list of them, not {prompts!r}.", "prompts")
    several = list(prompts)
    return [several] if several and all(isinstance(p, int) for p in several) else several


def conversation_list(messages: Sequence[Any]) -> Sequence[Any]:
    """A list of conversations, from one or many."""
    several = bool(messages) and not isinstance(messages[0], Mapping)
    return messages if several else [messages]


def one_each(value: Any, count: int, what: str) -> Sequence[Any]:
    """A value for each of so many prompts, from one for all or a list."""
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ClientError(f"The lengths of prompts ({count}) and {what} ({len(value)}) must be the same.")
    return value


def refuse_lora(lora_request: object) -> None:
    """
    Raises:
        UnsupportedError: there is one.
    """
    if lora_request is not None:
        raise UnsupportedError("LoRA adapters are not part of this version.", "lora_request")
