"""Constraint: what one answer may say next. Its grammar begins with the answer, or where the model's thinking ends.

A function of the answer's tokens alone: a request that starts again after a preemption accepts them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.structured.base import Grammar, MaskRow

_ALL = -1  # every bit of a word


class Constraint:
    """Follows one answer.

    Args:
        grammar: at its beginning.
        after: token ids that end the thinking; until they have come in this order the answer is free. Empty: the
            grammar holds from the first token on.
        never_ids: ids that are forbidden wherever anything else is allowed (end-of-sequence under ignore_eos).
    """

    def __init__(self, grammar: Grammar, after: Sequence[int] = (), never_ids: Sequence[int] = ()):
        self._grammar = grammar
        self._after = list(after)
        self._never_ids = np.array(never_ids, np.int64)
        self._free: list[int] = []  # what came before the grammar began
        self._begun = not self._after
        self._accepted = 0

    @property
    def done(self) -> bool:
        """Whether the answer is complete and nothing may follow."""
        return self._begun and self._grammar.done

    def accept(self, token_ids: Sequence[int]) -> int:
        """Advance over these tokens, up to the first that is not allowed; how many it took.

        Raises:
            GrammarError: following the answer costs more than the engine's limits.
        """
        taken = 0
        while not self._begun and taken < len(token_ids):
            self._free.append(token_ids[taken])
            taken += 1
            self._begun = self._free[-len(self._after) :] == self._after
        if taken < len(token_ids):
            count = self._grammar.accept(token_ids[taken:])
            self._accepted += count
            taken += count
        return taken

    def rollback(self, count: int) -> None:
        """Take back the last `count` accepted tokens."""
        own = min(count, self._accepted)
        self._grammar.rollback(own)
        self._accepted -= own
        if count > own:
            del self._free[len(self._free) - (count - own) :]
            self._begun = not self._after

    def fill_mask(self, row: MaskRow) -> None:
        """Write what may come next, bit by token id.

        Raises:
            GrammarError: as `accept`.
        """
        if not self._begun:
            row.fill(_ALL)
            return
        self._grammar.fill_mask(row)
        if len(self._never_ids):
            words, bits = self._never_ids >> 5, (np.int64(1) << (self._never_ids & 31)).astype(np.uint32)
            kept = row.copy()
            np.bitwise_and.at(row.view(np.uint32), words, ~bits)
            if not row.any():
                row[:] = kept
