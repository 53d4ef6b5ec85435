"""RowHistory: which tokens the rows of a step have seen, as a view of the worker's token table. Copies nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]


def ragged_ranges(starts_R: Int64Array, lens_R: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Pairs (row, value) of the ranges [start, start + len) of all rows, row after row."""
    rows_T = np.repeat(np.arange(len(lens_R)), lens_R)
    before_R = np.cumsum(lens_R) - lens_R
    return rows_T, np.arange(len(rows_T)) + (starts_R - before_R)[rows_T]


@dataclass(frozen=True)
class RowHistory:
    """The rows that sample, in order.

    Attributes:
        tokens: int32 [slots, columns]; row `slots_S[i]` holds the prompt and the answer so far of row i.
        slots_S, num_prompt_S, num_tokens_S: int64; place in `tokens`, prompt length, prompt and answer together.
    """

    tokens: npt.NDArray[np.int32]
    slots_S: Int64Array
    num_prompt_S: Int64Array
    num_tokens_S: Int64Array

    def all_tokens(self, rows: Int64Array) -> tuple[Int64Array, npt.NDArray[np.int32]]:
        """(index into `rows`, token) of everything these rows have seen."""
        index, columns = ragged_ranges(np.zeros(len(rows), np.int64), self.num_tokens_S[rows])
        return index, self.tokens[self.slots_S[rows][index], columns]

    def answer_tokens(self, rows: Int64Array) -> tuple[Int64Array, npt.NDArray[np.int32]]:
        """(index into `rows`, token) of what these rows have generated."""
        starts = self.num_prompt_S[rows]
        index, columns = ragged_ranges(starts, self.num_tokens_S[rows] - starts)
        return index, self.tokens[self.slots_S[rows][index], columns]

    def answer_lens(self, rows: Int64Array) -> Int64Array:
        """How many tokens these rows have generated."""
        return self.num_tokens_S[rows] - self.num_prompt_S[rows]

    def last_answer_tokens(self, rows: Int64Array, count: int) -> npt.NDArray[np.int32]:
        """[rows, count] most recent generated tokens, the newest last; -1 where there are fewer."""
        back = np.arange(-count, 0)
        columns = self.num_tokens_S[rows][:, None] + back
        tokens = self.tokens[self.slots_S[rows][:, None], np.maximum(columns, 0)]
        return np.where(columns >= self.num_prompt_S[rows][:, None], tokens, -1)
