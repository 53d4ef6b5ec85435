"""PieceTable: the bytes of every single token, for tokenizers whose decoder treats tokens one by one.

Decoders that do so: byte-level (GPT-2 and its heirs), Metaspace and SentencePiece with byte fallback. For others
(WordPiece, CTC, none) `kind` is "other", and the table is an approximation made by decoding each token alone.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import Any

import tokenizers

NFC_CHARS = 4  # most characters that NFC makes one of (UAX 15, as U+1F82)
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_LOCAL_DECODERS = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


def byte_alphabet() -> dict[str, int]:
    """The characters that byte-level vocabularies write bytes with: printable Latin-1 as is, others from 256 up."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in set(plain)]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


class PieceTable(dict[int, bytes]):
    """Token id -> bytes, filled on use.

    Attributes:
        kind: "byte_level", "sentencepiece" or "other".
        byte_ids: ids of byte-fallback tokens ("<0x0A>") -> their byte.
    """

    def __init__(self, backend: tokenizers.Tokenizer):
        super().__init__()
        self._backend = backend
        self.kind, byte_fallback = _classify(_spec(backend.decoder))
        alphabet = byte_alphabet()
        self._alphabet = frozenset(alphabet)
        self._byte_of = {ord(char): byte for char, byte in alphabet.items()}
        self.byte_ids: dict[int, int] = {}
        if byte_fallback:
            self.byte_ids = {i: int(m[1], 16) for t, i in self._vocab.items() if (m := _BYTE_TOKEN.fullmatch(t))}
        # A token in front of another shows the other one as it looks inside a text.
        self._anchor = self._find_anchor() if self.kind == "sentencepiece" else None
        if self.kind == "sentencepiece" and self._anchor is None:
            self.kind, self.byte_ids = "other", {}

    @cached_property
    def max_chars(self) -> int | None:
        """Most characters of a text that one token can cover; None where that cannot be said."""
        return self._longest(_names(_spec(self._backend.normalizer)))

    @cached_property
    def _vocab(self) -> dict[str, int]:
        return self._backend.get_vocab(with_added_tokens=True)

    def __missing__(self, token_id: int) -> bytes:
        piece = self._bytes_of(token_id)
        self[token_id] = piece
        return piece

    def _bytes_of(self, token_id: int) -> bytes:
        if token_id in self.byte_ids:
            return bytes([self.byte_ids[token_id]])
        if self.kind == "byte_level":
            token = self._backend.id_to_token(token_id) or ""
            if not self._alphabet.issuperset(token):
                return token.encode()
            return token.translate(self._byte_of).encode("latin-1")
        if self._anchor is None:
            return self._backend.decode([token_id], skip_special_tokens=False).encode()
        lead = self._backend.decode([self._anchor], skip_special_tokens=False)
        return self._backend.decode([self._anchor, token_id], skip_special_tokens=False)[len(lead) :].encode()

    def _find_anchor(self) -> int | None:
        for token, token_id in self._vocab.items():
            if token.isascii() and token.isalnum():
                return token_id
        return None

    def _longest(self, normalizers: set[str]) -> int | None:
        shrinks = normalizers - {"Prepend", "Replace", "Sequence", "NFC"}
        covers_all = self.kind == "byte_level" or bool(self.byte_ids)
        added = self._backend.get_added_tokens_decoder().values()
        if shrinks or not covers_all or any(t.lstrip or t.rstrip for t in added):
            return None
        longest = max((len(t) for t in self._vocab), default=1)
        return longest * NFC_CHARS if "NFC" in normalizers else longest


def _spec(component: Any) -> dict[str, Any] | None:
    """A tokenizer's decoder or normalizer as tokenizer.json has it. The whole tokenizer as JSON, with all its tokens,
    would take a third of a second."""
    spec: dict[str, Any] | None = None if component is None else json.loads(component.__getstate__())
    return spec


def _names(part: dict[str, Any] | None) -> set[str]:
    """Types of a component of tokenizer.json and of everything inside it."""
    if not part:
        return set()
    inner = part.get("decoders") or part.get("normalizers") or []
    return {part["type"]}.union(*(_names(p) for p in inner))


def _steps(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The decoder's steps in order, without the nesting."""
    if not decoder:
        return []
    if decoder["type"] != "Sequence":
        return [decoder]
    return [step for d in decoder["decoders"] for step in _steps(d)]


def _classify(decoder: dict[str, Any] | None) -> tuple[str, bool]:
    """Which kind of table fits, and whether bytes have tokens of their own."""
    steps = _steps(decoder)
    names = [s["type"] for s in steps]
    if names == ["ByteLevel"]:
        return "byte_level", False
    fused = names.index("Fuse") if "Fuse" in names else len(names)
    local = set(names) <= _LOCAL_DECODERS and set(names[fused + 1 :]) <= {"Strip"}
    if names and local and not any(s["type"] == "Strip" and s["stop"] for s in steps):
        return "sentencepiece", "ByteFallback" in names
    return "other", False
