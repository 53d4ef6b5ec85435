"""Thinking: the reasoning at the beginning of an answer, which no grammar binds and a budget may end.

A function of the answer's tokens alone, as every constraint.
"""

from __future__ import annotations

from penstock.params import ThinkingParams
from penstock.structured.base import MaskRow

_ALL = -1  # every bit of a word


class Thinking:
    """Follows one answer until its reasoning is over.

    Args:
        params: where reasoning begins and ends.

    Attributes:
        over: what comes next is no reasoning any more.
        undecided: the first token will tell whether there is reasoning at all.
    """

    def __init__(self, params: ThinkingParams):
        self._params = params
        self._ids: list[int] = []  # of the answer so far, to the end of the reasoning
        self._read()

    def _read(self) -> None:
        """Where the ids so far lead."""
        params, ids = self._params, self._ids
        opening = [] if params.opened else params.start
        self._spent = len(ids) - len(opening)  # of the budget
        self.undecided = bool(opening) and not ids
        astray = ids[: len(opening)] != opening[: len(ids)]
        ended = self._spent > 0 and ids[-len(params.end) :] == params.end
        self.over = astray or ended or not (params.opened or params.start)

    def accept(self, token_id: int) -> bool:
        """Advance; False if the token is no reasoning, but the first of what follows."""
        if self.over:
            return False
        self._ids.append(token_id)
        self._read()
        if self.over and len(self._ids) <= len(self._params.start) and not self._params.opened:
            self._ids.pop()
            return False
        return True

    def rollback(self, count: int) -> None:
        """Take back the last `count` tokens that were reasoning."""
        del self._ids[len(self._ids) - count :]
        self._read()

    def fill_mask(self, row: MaskRow, never_ids: list[int]) -> None:
        """Write what may come next while it is not over.

        Args:
            never_ids: that may not.
        """
        forced = self._forced()
        if forced is not None:
            row.fill(0)
            _allow(row, forced)
            return
        row.fill(_ALL)
        for token_id in never_ids:
            row.view("uint32")[token_id >> 5] &= ~(1 << (token_id & 31)) & 0xFFFFFFFF

    def allow_start(self, row: MaskRow) -> None:
        """Add the token that begins reasoning to what a grammar allows."""
        _allow(row, self._params.start[0])

    def _forced(self) -> int | None:
        """The only token that may come next, if there is one."""
        params, ids = self._params, self._ids
        if not params.opened and len(ids) < len(params.start):
            return None if not ids else params.start[len(ids)]
        if params.budget is None or self._spent < params.budget:
            return None
        end = params.forced_end
        most = min(len(end) - 1, self._spent)
        there = next(n for n in range(most, -1, -1) if ids[len(ids) - n :] == end[:n])
        return end[there]


def _allow(row: MaskRow, token_id: int) -> None:
    row.view("uint32")[token_id >> 5] |= 1 << (token_id & 31)
