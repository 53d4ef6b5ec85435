"""Vocabulary: what a grammar engine must know of a tokenizer, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import StartError
from penstock.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """The tokens as bytes.

    Attributes:
        pieces: bytes of each token id; b"" for ids that stand for no text: special tokens and what only pads the
            model's logits. A grammar never allows those.
        eos_ids: ids that end an answer; never empty.
    """

    pieces: Sequence[bytes]
    eos_ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.pieces)

    @classmethod
    def from_tokenizer(cls, tokenizer: Tokenizer, width: int, eos_ids: Sequence[int]) -> Vocabulary:
        """
        Args:
            width: of the model's logits.
            eos_ids: of the model; the tokenizer's own if empty.

        Raises:
            StartError: the bytes of single tokens cannot be told, or nothing ends an answer.
        """
        if tokenizer.pieces.kind == "other":
            raise StartError("structured outputs need a tokenizer whose tokens are bytes or byte-fallback pieces.")
        own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        ends = sorted({i for i in eos_ids or own if 0 <= i < width})
        if not ends:
            raise StartError("structured outputs need a model with an end-of-sequence token.")
        hidden = tokenizer.special_ids | set(ends)
        known = min(width, tokenizer.vocab_size)
        pieces = [b"" if i in hidden else tokenizer.token_bytes(i) for i in range(known)]
        return cls(pieces + [b""] * (width - known), ends)
