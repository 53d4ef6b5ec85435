"""Encodes texts, or pairs of them, within a number of tokens, the model's own tokens around them included.

What is cut off is text; the tokens around it stay, as with transformers' `truncation=True`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import tokenizers

from penstock.errors import ClientError
from penstock.tokenizers.tokenizer import ENCODE_INLINE_CHARS, Tokenizer

GROUP_CHARS = 1 << 18  # of texts that are encoded together: an encoding takes some 250 bytes for each token
LONG_CHARS = 1 << 16  # of a text that may be cut before it is encoded, where few of its tokens can be used
CHARS_PER_TOKEN = 64  # more than tokens have in all but strange texts, which are then encoded as a whole
SPARE_TOKENS = 128  # those near a cut may be others than without it
_WORD_END = re.compile(r"(?<=\S)\s")


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
    own = backend.num_special_tokens_to_add(seconds is not None) if bounds.special else 0
    encoded: list[Encoded] = []
    for group in _groups(texts, seconds):
        firsts = _encodings(backend, texts[group], bounds)
        others: Sequence[tokenizers.Encoding | None] = [None] * len(firsts)
        if seconds is not None:
            others = _encodings(backend, seconds[group], bounds)
        for first, second in zip(firsts, others, strict=True):
            encoded.append(_encoded(backend, first, second, bounds, own))
    return encoded


def _groups(texts: Sequence[str], seconds: Sequence[str] | None) -> Iterator[slice]:
    """Neighbours with at most GROUP_CHARS characters; a longer text makes a group of its own."""
    start = chars = 0
    for i, text in enumerate(texts):
        size = len(text) + (len(seconds[i]) if seconds is not None else 0)
        if chars and chars + size > GROUP_CHARS:
            yield slice(start, i)
            start, chars = i, 0
        chars += size
    yield slice(start, len(texts))


def _encodings(backend: tokenizers.Tokenizer, texts: Sequence[str], bounds: Bounds) -> list[tokenizers.Encoding]:
    """Without the model's own tokens. Of long texts at least what is within the bounds."""
    texts = [t.lower() if bounds.lowercase else t for t in texts]
    heads = [_shortened(t, bounds) for t in texts]
    try:
        encodings = backend.encode_batch(heads, add_special_tokens=False)
        for i, text in enumerate(texts):
            if len(heads[i]) < len(text) and len(encodings[i]) < (bounds.most or 0) + SPARE_TOKENS:
                encodings[i] = backend.encode(text, add_special_tokens=False)
    except (UnicodeError, TypeError):
        raise ClientError("the text holds characters that are not valid Unicode (lone surrogates).", "input") from None
    return encodings


def _shortened(text: str, bounds: Bounds) -> str:
    """As much of a long text as its tokens are likely to come from, cut where a word ends."""
    if bounds.most is None or len(text) <= LONG_CHARS:
        return text
    chars = max(LONG_CHARS, CHARS_PER_TOKEN * (bounds.most + SPARE_TOKENS))
    if bounds.side == "left":
        tail = text[-chars:]
        end = _WORD_END.search(tail)
        return tail[end.start() :] if end else ""
    head = text[:chars].rstrip()
    return head[: head.rfind(" ") + 1].rstrip()


def _encoded(
    backend: tokenizers.Tokenizer,
    first: tokenizers.Encoding,
    second: tokenizers.Encoding | None,
    bounds: Bounds,
    own: int,
) -> Encoded:
    """Cut to the bounds, with the model's own tokens around it, of which there are `own`."""
    if second is not None and bounds.most_second is not None:
        second.truncate(bounds.most_second, direction=bounds.side)
    if bounds.most is not None:
        _cut(first, second, bounds.most - own, bounds.side)
    whole: tokenizers.Encoding = backend.post_process(first, second, bounds.special)
    segments = whole.type_ids if second is not None else []
    return Encoded(whole.ids, segments.index(1) if 1 in segments else None)


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
