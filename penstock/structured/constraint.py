"""Constraint: what one answer may say next. Its grammar begins with the answer, or where the model's thinking ends.

A function of the answer's tokens alone: a request that starts again after a preemption accepts them again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.structured.base import Grammar, MaskRow
from penstock.structured.thinking import Thinking

_ALL = -1  # every bit of a word


class Constraint:
    """Follows one answer.

    Args:
        grammar: at its beginning; None if only the thinking is bound.
        thinking: at its beginning; None if there is none, and the grammar holds from the first token on.
        never_ids: ids that the grammar forbids wherever anything else is allowed (end-of-sequence under ignore_eos).
        end_ids: ids that would end the answer before the grammar has begun.
    """

    def __init__(
        self,
        grammar: Grammar | None,
        thinking: Thinking | None = None,
        never_ids: Sequence[int] = (),
        end_ids: Sequence[int] = (),
    ):
        self._grammar = grammar
        self._thinking = thinking
        self._never_ids = np.array(never_ids, np.int64)
        self._end_ids = list(end_ids) if grammar is not None else []
        self._accepted = 0  # by the grammar

    @property
    def done(self) -> bool:
        """Whether the answer is complete and nothing may follow."""
        return self._thinks is None and self._grammar is not None and self._grammar.done

    @property
    def idle(self) -> bool:
        """Nothing is forbidden, and nothing ever will be."""
        return self._thinks is None and self._grammar is None

    @property
    def _thinks(self) -> Thinking | None:
        """The thinking, unless it is over."""
        return self._thinking if self._thinking is not None and not self._thinking.over else None

    def accept(self, token_ids: Sequence[int]) -> int:
        """Advance over these tokens, up to the first that is not allowed; how many it took.

        Raises:
            GrammarError: following the answer costs more than the engine's limits.
        """
        taken = 0
        while taken < len(token_ids) and (thinking := self._thinks) is not None and thinking.accept(token_ids[taken]):
            taken += 1
        if self._grammar is None or taken == len(token_ids):
            return len(token_ids)
        count = self._grammar.accept(token_ids[taken:])
        self._accepted += count
        return taken + count

    def rollback(self, count: int) -> None:
        """Take back the last `count` accepted tokens."""
        own = min(count, self._accepted)
        if self._grammar is not None:
            self._grammar.rollback(own)
        self._accepted -= own
        if self._thinking is not None and (count > own or not self._accepted):
            self._thinking.rollback(count - own)

    def fill_mask(self, row: MaskRow) -> None:
        """Write what may come next, bit by token id.

        Raises:
            GrammarError: as `accept`.
        """
        thinking = self._thinks
        if thinking is not None and not (thinking.undecided and self._grammar is not None):
            thinking.fill_mask(row, self._end_ids)
        elif self._grammar is None:
            row.fill(_ALL)
        else:
            self._fill_from_grammar(self._grammar, row)
            if thinking is not None:
                thinking.allow_start(row)

    def _fill_from_grammar(self, grammar: Grammar, row: MaskRow) -> None:
        grammar.fill_mask(row)
        if len(self._never_ids):
            words, bits = self._never_ids >> 5, (np.int64(1) << (self._never_ids & 31)).astype(np.uint32)
            kept = row.copy()
            np.bitwise_and.at(row.view(np.uint32), words, ~bits)
            if not row.any():
                row[:] = kept
