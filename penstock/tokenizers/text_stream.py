"""TextStream: token ids in, text out, piece by piece.

The pieces put together equal `decode` of all the ids, and none ends inside a character: bytes wait until they make one,
or until it is certain that they never will. Knows no requests and no stop strings (`engine/detokenizer.py` does).
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import tokenizers

from penstock.tokenizers.pieces import PieceTable

REPLACEMENT = "\ufffd"
WINDOW_TOKENS = 6  # context that a decoder of the "other" kind gets


class TextStream(ABC):
    """One answer's ids on their way to text."""

    @abstractmethod
    def feed(self, ids: Sequence[int]) -> str:
        """Text that is certain after these further ids; may be empty."""

    def peek(self) -> str:
        """Complete characters that are held back because later ids may still change them; may be empty."""
        return ""

    @abstractmethod
    def finish(self) -> str:
        """What was still held back. Nothing may be fed afterwards."""


def make_text_stream(
    backend: tokenizers.Tokenizer, pieces: PieceTable, hidden: frozenset[int], raw: dict[int, str], at_start: bool
) -> TextStream:
    """The stream for this tokenizer's kind of decoder.

    Args:
        hidden: ids that give no text.
        raw: added tokens -> their text, written without spaces before them where they follow one another.
        at_start: no visible text comes before.
    """
    if pieces.kind == "byte_level":
        return ByteLevelStream(pieces, hidden)
    if pieces.kind == "sentencepiece":
        return PieceStream(backend, pieces, hidden, at_start)
    return WindowStream(backend, hidden, raw)


class ByteLevelStream(TextStream):
    """For decoders that join the tokens' bytes and read them as UTF-8."""

    def __init__(self, pieces: PieceTable, hidden: frozenset[int]):
        self._pieces = pieces
        self._hidden = hidden
        # Both this codec and the package's decoder put one U+FFFD for each maximal broken part, as Unicode advises.
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Sequence[int]) -> str:
        pieces, hidden = self._pieces, self._hidden
        if len(ids) == 1:
            return "" if ids[0] in hidden else self._utf8.decode(pieces[ids[0]])
        return self._utf8.decode(b"".join([pieces[i] for i in ids if i not in hidden]))

    def finish(self) -> str:
        return self._utf8.decode(b"", True)


class PieceStream(TextStream):
    """For SentencePiece-like decoders: every token has its text, and runs of byte tokens are read as UTF-8.

    A run that is not valid UTF-8 as a whole becomes one U+FFFD per byte, so a run waits for its end.
    """

    def __init__(self, backend: tokenizers.Tokenizer, pieces: PieceTable, hidden: frozenset[int], at_start: bool):
        self._backend = backend
        self._pieces = pieces
        self._hidden = hidden
        self._run = bytearray()
        # The first visible text may lose its leading space, so until there is some, all ids are decoded together.
        self._first: list[int] | None = [] if at_start else None

    def feed(self, ids: Sequence[int]) -> str:
        ids = [i for i in ids if i not in self._hidden]
        return "".join([self._one(i) for i in ids])

    def _one(self, token_id: int) -> str:
        if not self._pieces[token_id] and self._backend.id_to_token(token_id) is None:
            return ""  # outside the vocabulary: it does not even end a run
        byte = self._pieces.byte_ids.get(token_id)
        if self._first is not None:
            return self._begin(token_id, byte is not None)
        if byte is not None:
            self._run.append(byte)
            return ""
        text = self._pieces[token_id].decode("utf-8", "replace")
        return self._end_run() + text if self._run else text

    def _begin(self, token_id: int, is_byte: bool) -> str:
        assert self._first is not None
        self._first.append(token_id)
        if is_byte:
            return ""
        text = self._backend.decode(self._first, skip_special_tokens=False)
        if text:
            self._first = None
        return text

    def peek(self) -> str:
        text = self._backend.decode(self._first, skip_special_tokens=False) if self._first else _valid(self._run)
        return "" if REPLACEMENT in text else text

    def _end_run(self) -> str:
        run, self._run = self._run, bytearray()
        return _valid(run) or REPLACEMENT * len(run)

    def finish(self) -> str:
        if self._first:
            return self._backend.decode(self._first, skip_special_tokens=False)
        return self._end_run()


def _valid(run: bytearray) -> str:
    try:
        return run.decode()
    except UnicodeDecodeError:
        return ""


class WindowStream(TextStream):
    """For decoders that look at neighbours (WordPiece, CTC, none): decodes a few tokens with and without the new."""

    def __init__(self, backend: tokenizers.Tokenizer, hidden: frozenset[int], raw: dict[int, str]):
        self._backend = backend
        self._hidden = hidden
        self._raw = raw
        self._context: list[int] = []
        self._pending: list[int] = []
        self._after_raw = False

    def feed(self, ids: Sequence[int]) -> str:
        return "".join([self._one(i) for i in ids if i not in self._hidden])

    def _one(self, token_id: int) -> str:
        raw = self._raw.get(token_id)
        after_raw, self._after_raw = self._after_raw, raw is not None
        self._pending.append(token_id)
        text = self._difference()
        if text.endswith(REPLACEMENT) or not text:
            return ""
        self._context = (self._context + self._pending)[-WINDOW_TOKENS:]
        self._pending = []
        return raw if raw is not None and after_raw else text

    def _difference(self) -> str:
        before = self._decode(self._context)
        return self._decode(self._context + self._pending)[len(before) :]

    def _decode(self, ids: Iterable[int]) -> str:
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def finish(self) -> str:
        return self._difference() if self._pending else ""
