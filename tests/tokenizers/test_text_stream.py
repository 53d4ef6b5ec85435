"""Streams of ids: the pieces together are the decoded whole, and no piece ends inside a character."""

from __future__ import annotations

import random

import pytest
import tokenizer_makers
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.tokenizers.tokenizer import Tokenizer

TOKENIZERS = {name: Tokenizer(make()) for name, make in tokenizer_makers.MAKERS.items()}
EXACT = ["byte_level", "sentencepiece", "metaspace"]


def streamed(tokenizer: Tokenizer, ids: list[int], cuts: list[int], **options: bool) -> list[str]:
    """The pieces when the ids come in parts of these sizes."""
    stream = tokenizer.text_stream(**options)
    pieces, at, sizes = [], 0, iter(cuts)
    while at < len(ids):
        size = next(sizes, 1)
        pieces.append(stream.feed(ids[at : at + size]))
        at += size
    return [*pieces, stream.finish()]


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_pieces_together_are_the_whole(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) + 3), max_size=40))
    cuts = data.draw(st.lists(st.integers(1, 5), max_size=10))
    skip = data.draw(st.booleans())
    pieces = streamed(tokenizer, ids, cuts, skip_special_tokens=skip)
    assert "".join(pieces) == tokenizer.decode(ids, skip)


@pytest.mark.parametrize("name", ["byte_level", "sentencepiece"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_invalid_utf8_in_all_mixtures(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    byte_ids = sorted(i for i in range(len(tokenizer)) if len(tokenizer.token_bytes(i)) == 1)
    some = [tokenizer.encode(t, add_special_tokens=False) for t in ("\u4f60", "\U0001f600", " a", "the", "\u00e9")]
    part = st.one_of(st.sampled_from(some), st.sampled_from(byte_ids).map(lambda i: [i]))
    parts = data.draw(st.lists(part, max_size=12))
    ids = [i for part in parts for i in part]
    assert "".join(streamed(tokenizer, ids, [])) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", EXACT)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\u2581"), max_size=30))
@settings(max_examples=100, deadline=None)
def test_text_never_shows_half_a_character(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.decode(ids)
    pieces = streamed(tokenizer, ids, [])
    assert "".join(pieces) == whole
    if "\ufffd" not in whole:
        assert not any("\ufffd" in p for p in pieces)


def test_a_character_comes_with_its_last_byte() -> None:
    tokenizer = TOKENIZERS["byte_level"]
    by_bytes = {tokenizer.token_bytes(i): i for i in range(len(tokenizer))}
    ids = [by_bytes[bytes([b])] for b in "\U0001f600".encode()]
    assert streamed(tokenizer, ids, []) == ["", "", "", "\U0001f600", ""]


def test_a_leading_space_stays_after_a_prompt() -> None:
    tokenizer = TOKENIZERS["sentencepiece"]
    ids = tokenizer.encode("the cat", add_special_tokens=False)
    assert "".join(streamed(tokenizer, ids, [], at_start=True)) == "the cat"
    assert "".join(streamed(tokenizer, ids, [], at_start=False)) == " the cat"


def test_peek_shows_a_run_of_bytes_only_while_it_is_valid() -> None:
    tokenizer = TOKENIZERS["sentencepiece"]
    stream = tokenizer.text_stream(at_start=False)
    assert (stream.feed([tokenizer.token_to_id("<0x0A>")]), stream.peek()) == ("", "\n")
    assert (stream.feed([tokenizer.token_to_id("<0xE4>")]), stream.peek()) == ("", "")
    assert stream.finish() == tokenizer.decode([tokenizer.token_to_id(t) for t in ("<0x0A>", "<0xE4>")])


@pytest.mark.parametrize("skip", [True, False])
def test_other_decoders_stream_real_text(skip: bool) -> None:
    tokenizer = TOKENIZERS["word_piece"]
    for text in tokenizer_makers.TEXT[:2]:
        ids = tokenizer.encode(text + "<|eos|>", add_special_tokens=False)
        assert "".join(streamed(tokenizer, ids, [], skip_special_tokens=skip)) == tokenizer.decode(ids, skip)


def test_spaces_between_special_tokens() -> None:
    tokenizer = TOKENIZERS["word_piece"]
    ids = [tokenizer.token_to_id(t) for t in ("the", "<|eos|>", "<|user|>")]
    assert "".join(streamed(tokenizer, ids, [], skip_special_tokens=False)) == "the <|eos|> <|user|>"
    no_spaces = {"skip_special_tokens": False, "spaces_between_special_tokens": False}
    assert "".join(streamed(tokenizer, ids, [], **no_spaces)) == "the <|eos|><|user|>"


def test_long_random_runs() -> None:
    draw = random.Random(5)
    for name in EXACT:
        tokenizer = TOKENIZERS[name]
        ids = [draw.randrange(len(tokenizer)) for _ in range(3000)]
        assert "".join(streamed(tokenizer, ids, [])) == tokenizer.decode(ids)
