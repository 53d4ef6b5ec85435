"""The shapes that `prompt` may have, and truncation from the right; everything else about prompts is the engine's."""

from __future__ import annotations

from penstock.errors import ClientError
from penstock.tokenizers.tokenizer import Tokenizer

MAX_PROMPTS = 1024

Prompt = str | list[int]


def split_prompts(prompt: str | list[int | str | list[int]] | None) -> list[Prompt]:
    """One entry per prompt: text, or token ids.

    Raises:
        ClientError: there is none, there are too many, or kinds are mixed.
    """
    if prompt is None or prompt == []:
        raise ClientError("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
    if isinstance(prompt, str):
        return [prompt]
    if all(isinstance(p, int) for p in prompt):
        return [prompt]  # type: ignore[list-item]
    if not (all(isinstance(p, str) for p in prompt) or all(isinstance(p, list) for p in prompt)):
        raise ClientError("prompt must be a string, a list of strings, token ids, or lists of token ids.", "prompt")
    if len(prompt) > MAX_PROMPTS:
        message = f"prompt list length {len(prompt)} exceeds the maximum allowed count of {MAX_PROMPTS}."
        raise ClientError(message, "prompt")
    return prompt  # type: ignore[return-value]


async def truncated(
    prompt: Prompt, keep: int | None, side: str | None, tokenizer: Tokenizer | None, add_special_tokens: bool
) -> tuple[Prompt, int | None]:
    """The prompt and the truncation left to the engine, which only cuts off beginnings.

    Args:
        keep: `truncate_prompt_tokens`. side: which end is cut off, "left" (the default) or "right".

    Raises:
        ClientError: an unknown side.
    """
    if side not in (None, "left", "right"):
        raise ClientError("truncation_side must be 'left' or 'right'.", "truncation_side")
    if side != "right" or keep is None or keep < 1:
        return prompt, keep
    if isinstance(prompt, str) and tokenizer is not None:
        prompt = await tokenizer.encode_async(prompt, add_special_tokens)
    return prompt[:keep], keep
