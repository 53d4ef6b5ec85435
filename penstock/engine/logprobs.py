"""Log probabilities as callers get them: per position a dict from token id to Logprob, with the tokens' texts.

A token that is only part of a character shows the character if it completes one, else "": so the sampled tokens'
texts together are the answer's text.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.outputs import Logprob, PositionLogprobs
from penstock.scheduler.plan import TokenLogprobs
from penstock.tokenizers.tokenizer import Tokenizer


class LogprobFormatter:
    """Formats one sequence's positions in order.

    Args:
        tokenizer: None leaves the texts out.
    """

    __slots__ = ("_context", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer | None):
        self._tokenizer = tokenizer
        self._context = b""  # bytes of a character that the tokens so far began

    def position(self, entry: TokenLogprobs) -> PositionLogprobs:
        """The dict for the next position; its first key is the token that stands there."""
        ids, values = entry.token_ids, entry.logprobs
        texts = self._texts(ids)
        result = {ids[0]: Logprob(values[0], entry.rank, texts[0])}
        for i in range(1, len(ids)):
            if ids[i] not in result:
                result[ids[i]] = Logprob(values[i], i if entry.ranks is None else entry.ranks[i - 1], texts[i])
        if self._tokenizer is not None:
            self._context = _unfinished(self._context + self._tokenizer.token_bytes(ids[0]))
        return result

    def _texts(self, ids: Sequence[int]) -> Sequence[str | None]:
        if self._tokenizer is None:
            return [None] * len(ids)
        token_bytes, context = self._tokenizer.token_bytes, self._context
        return [_text_after(context, token_bytes(i)) for i in ids]


def _text_after(context: bytes, piece: bytes) -> str:
    """Characters that are complete once `piece` follows `context`."""
    try:
        return (context + piece).decode()
    except UnicodeDecodeError:
        pass
    if context:
        whole = context + piece
        complete = whole[: len(whole) - len(_unfinished(whole))]
        try:
            return complete.decode()
        except UnicodeDecodeError:
            pass  # the piece does not go on with the context: show it alone
    return piece[: len(piece) - len(_unfinished(piece))].decode("utf-8", "replace")


def _unfinished(data: bytes) -> bytes:
    """The bytes at the end of `data` that may begin a character."""
    for back in range(1, min(4, len(data)) + 1):
        lead = data[-back]
        if lead & 0xC0 == 0x80:
            continue  # a continuation byte; look further back for the one that leads
        length = 2 if lead >> 5 == 0b110 else 3 if lead >> 4 == 0b1110 else 4 if lead >> 3 == 0b11110 else 1
        return data[-back:] if back < length else b""
    return b""
