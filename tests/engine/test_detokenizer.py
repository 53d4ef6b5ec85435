"""Stop strings end a text at the same place however its tokens are cut, and never show before they are complete."""

from __future__ import annotations

import pytest
import tokenizer_makers
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine.detokenizer import Detokenizer
from penstock.tokenizers.tokenizer import Tokenizer

TOKENIZER = Tokenizer(tokenizer_makers.byte_level())
FALLBACK = Tokenizer(tokenizer_makers.sentencepiece())


def run(tokenizer: Tokenizer, ids: list[int], cuts: list[int], **options: object) -> tuple[list[str], int, str | None]:
    """Pieces given out, tokens that counted, and the stop string found."""
    detokenizer = Detokenizer(tokenizer.text_stream(at_start=False), **options)  # type: ignore[arg-type]
    pieces, at, sizes = [], 0, iter(cuts)
    while at < len(ids):
        size = next(sizes, 1)
        text, used = detokenizer.feed(ids[at : at + size])
        pieces.append(text)
        at += used
        if detokenizer.stop_found is not None:
            return pieces, at, detokenizer.stop_found
    return [*pieces, detokenizer.finish()], at, None


def expected(text: str, stop: list[str], include: bool) -> tuple[str, str | None]:
    """By looking at growing beginnings of the whole text."""
    for end in range(len(text) + 1):
        found = [s for s in stop if text[:end].endswith(s)]
        if found:
            longest = max(found, key=len)
            return (text[:end] if include else text[: end - len(longest)]), longest
    return text, None


@settings(max_examples=300, deadline=None)
@given(
    text=st.text("ab \n\u00e9", max_size=30),
    stop=st.lists(st.text("ab \n\u00e9", min_size=1, max_size=4), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 4), max_size=8),
    include=st.booleans(),
)
def test_stop_strings_end_the_text(text: str, stop: list[str], cuts: list[int], include: bool) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    pieces, used, found = run(TOKENIZER, ids, cuts, stop=stop, include_stop=include)
    assert ("".join(pieces), found) == expected(text, stop, include)
    singly = run(TOKENIZER, ids, [], stop=stop, include_stop=include)
    assert (used, found) == singly[1:]


def test_text_is_held_back_while_a_stop_string_may_begin() -> None:
    by_byte = {TOKENIZER.token_bytes(i): i for i in reversed(range(len(TOKENIZER)))}
    ids = [by_byte[c.encode()] for c in "abcdeE"]
    pieces, _, found = run(TOKENIZER, ids, [], stop=["cdX", "E"])
    assert (pieces, found) == (["", "", "a", "b", "c", "de"], "E")
    assert run(TOKENIZER, ids, [], stop=["cdX", "E"], include_stop=True)[0] == list("abcdeE")


def test_stop_strings_wait_for_min_tokens() -> None:
    by_byte = {TOKENIZER.token_bytes(i): i for i in reversed(range(len(TOKENIZER)))}
    ids = [by_byte[c.encode()] for c in "aXbXc"]
    assert run(TOKENIZER, ids, [], stop=["X"], min_tokens=2)[:2] == (["a", "X", "b", ""], 4)


@pytest.mark.parametrize("include", [True, False])
def test_a_byte_token_can_complete_a_stop_string(include: bool) -> None:
    """A newline of SentencePiece models is a byte token, which the stream holds back until its run ends."""
    ids = FALLBACK.encode("the cat\nsat", add_special_tokens=False)
    newline = ids.index(FALLBACK.token_to_id("<0x0A>"))
    pieces, used, found = run(FALLBACK, ids, [], stop=["\n"], include_stop=include)
    assert ("".join(pieces), used, found) == (" the cat\n" if include else " the cat", newline + 1, "\n")
