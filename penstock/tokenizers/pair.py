"""Encodes texts, or pairs of them, within a number of tokens, the model's own tokens around them included.

What is cut off is text; the tokens around it stay, as with transformers' `truncation=True`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import tokenizers

from penstock.errors import ClientError
from penstock.tokenizers.tokenizer import ENCODE_INLINE_CHARS, Tokenizer


class Encoded(NamedTuple):
    """Ids, and the place of the second text's first token; None if there is none, or it has no segment of its own."""

    ids: list[int]
    second_segment: int | None


class Bounds(NamedTuple):
    """How texts are encoded.

    Attributes:
        special: put the model's own tokens around them.
        most: tokens of an input; of two texts the longer one loses tokens first. None for no limit.
        most_second: tokens of the second text, before that.
        side: which end is cut off.
        lowercase: put texts into lower case first.
    """

    special: bool = True
    most: int | None = None
    most_second: int | None = None
    side: str = "right"
    lowercase: bool = False


def encode_inputs(
    tokenizer: Tokenizer, texts: Sequence[str], seconds: Sequence[str] | None = None, bounds: Bounds | None = None
) -> list[Encoded]:
    """Encode texts, each with its second one if there are such.

    Raises:
        ClientError: a text is not valid Unicode, or the bounds leave no room.
    """
    backend, bounds = tokenizer.backend, bounds or Bounds()
    given = [t.lower() if bounds.lowercase else t for t in (*texts, *(seconds or ()))]
    try:
        encodings = backend.encode_batch(given, add_special_tokens=False)
    except (UnicodeError, TypeError):
        raise ClientError("the text holds characters that are not valid Unicode (lone surrogates).", "input") from None
    own = backend.num_special_tokens_to_add(seconds is not None) if bounds.special else 0
    encoded = []
    for i in range(len(texts)):
        first, second = encodings[i], None if seconds is None else encodings[len(texts) + i]
        if second is not None and bounds.most_second is not None:
            second.truncate(bounds.most_second, direction=bounds.side)
        if bounds.most is not None:
            _cut(first, second, bounds.most - own, bounds.side)
        whole: tokenizers.Encoding = backend.post_process(first, second, bounds.special)
        segments = whole.type_ids if second is not None else []
        encoded.append(Encoded(whole.ids, segments.index(1) if 1 in segments else None))
    return encoded


async def encode_inputs_async(
    tokenizer: Tokenizer, texts: Sequence[str], seconds: Sequence[str] | None = None, bounds: Bounds | None = None
) -> list[Encoded]:
    """As `encode_inputs`, without holding up the event loop for long."""
    if sum(map(len, texts)) + sum(map(len, seconds or ())) <= ENCODE_INLINE_CHARS:
        return encode_inputs(tokenizer, texts, seconds, bounds)
    return await asyncio.to_thread(encode_inputs, tokenizer, texts, seconds, bounds)


def _cut(first: tokenizers.Encoding, second: tokenizers.Encoding | None, room: int, side: str) -> None:
    """Shorten until both fit; the longer one first, as transformers' "longest_first"."""
    if room < (1 if second is None else 2):
        raise ClientError("truncate_prompt_tokens leaves no room for the text.", "truncate_prompt_tokens")
    if second is None:
        first.truncate(room, direction=side)
        return
    short, long = sorted((len(first), len(second)))
    if short + long <= room:
        return
    short = min(short, room // 2)
    long = room - short
    lengths = (short, long) if len(first) <= len(second) else (long, short)
    for encoding, length in zip((first, second), lengths, strict=True):
        encoding.truncate(length, direction=side)
