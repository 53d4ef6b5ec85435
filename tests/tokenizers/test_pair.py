"""Inputs of models that pool: long texts are cut before they are encoded, and nobody sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tokenizers
from tokenizer_makers import byte_level, metaspace, save, word_piece

from penstock.tokenizers.pair import LONG_CHARS, Bounds, encode_inputs
from penstock.tokenizers.tokenizer import Tokenizer

TEXT = "the cat sat on the mat, and the dog looked at it. "


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("make", [byte_level, metaspace, word_piece])
def test_cut_texts_are_as_if_encoded_whole(make: Callable[[], tokenizers.Tokenizer], side: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(save(make(), tmp_path))
    long = TEXT * (2 * LONG_CHARS // len(TEXT))
    sparse = TEXT * 20 + " " * (LONG_CHARS + 9) + "the dog"  # a piece of it has fewer tokens than are asked for
    texts = [long, "the dog", sparse, long[:-7], "a", *([TEXT * 1500] * 4)]
    for most in (5, 400):
        cut = encode_inputs(tokenizer, texts, None, Bounds(special=False, most=most, side=side))
        for text, (ids, _) in zip(texts, cut, strict=True):
            whole = tokenizer.encode(text, add_special_tokens=False)
            assert ids == (whole[-most:] if side == "left" else whole[:most])


def test_pairs_keep_their_order_over_groups(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_folder(save(word_piece(), tmp_path))
    texts = [TEXT * (i % 3 * 2000 + 1) for i in range(7)]
    seconds = ["the dog " * (i + 1) for i in range(7)]
    together = encode_inputs(tokenizer, texts, seconds)
    assert together == [encode_inputs(tokenizer, [a], [b])[0] for a, b in zip(texts, seconds, strict=True)]
