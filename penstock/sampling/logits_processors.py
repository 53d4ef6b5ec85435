"""What a request's parameters do to its logits before a token is chosen. Each processor changes logits in place.

A processor is made for one batch composition and holds flat index tensors for the rows that have its feature; the
others pay nothing. Only IEEE-exact elementwise operations are used, so no row's bits depend on its neighbours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from penstock.ops import kernels
from penstock.sampling.history import Int64Array, RowHistory

# Dimensions in tensor names: S rows that sample, V vocabulary, E (row, token) pairs.
_ROWS_AT_ONCE = 16  # bounds the table of counts, 4 bytes x vocabulary per row

CopyIn = Callable[[torch.Tensor], torch.Tensor]  # `platforms.base.Device.copy_in`
Pairs = list[tuple[int, npt.NDArray[np.int64]]]  # (row, token ids)


class LogitsProcessor(ABC):
    """One change to the logits of a step."""

    @abstractmethod
    def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        """Change float32 `logits_SV` in place; row i of it is row i of `rows`. -inf forbids a token."""


def _flatten(pairs: Pairs, copy_in: CopyIn) -> tuple[torch.Tensor, torch.Tensor]:
    rows = np.repeat([row for row, _ in pairs], [len(ids) for _, ids in pairs]).astype(np.int64)
    ids = np.concatenate([ids for _, ids in pairs])
    return copy_in(torch.from_numpy(rows)), copy_in(torch.from_numpy(ids))


class AllowedTokens(LogitsProcessor):
    """allowed_token_ids: everything else is forbidden."""

    def __init__(self, allowed: Pairs, copy_in: CopyIn):
        self._rows = copy_in(torch.tensor([row for row, _ in allowed]))
        self._ends = torch.from_numpy(np.cumsum([len(ids) for _, ids in allowed]))
        self._row_E, self._id_E = _flatten(allowed, copy_in)

    def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        if kernels.native is not None and logits_SV.is_cpu:
            assert logits_SV.is_contiguous()
            places = (x.data_ptr() for x in (self._rows, self._ends, self._id_E))
            kernels.native.allow_only(logits_SV.data_ptr(), logits_SV.shape[1], *places, len(self._rows))
            return
        kept_E = logits_SV[self._row_E, self._id_E]
        logits_SV.index_fill_(0, self._rows, -torch.inf)
        logits_SV[self._row_E, self._id_E] = kept_E


class BadWords(LogitsProcessor):
    """bad_words: the token that would complete a forbidden sequence is forbidden. Only the answer counts.

    Args:
        words: per row, its forbidden sequences of token ids.
    """

    def __init__(self, words: list[tuple[int, list[list[int]]]], copy_in: CopyIn):
        self._copy_in = copy_in
        flat = [(row, word) for row, row_words in words for word in row_words]
        width = max(len(word) for _, word in flat) - 1
        self._row_W = np.array([row for row, _ in flat], np.int64)
        self._last_W = np.array([word[-1] for _, word in flat], np.int64)
        self._prefix_WL = np.full((len(flat), width), -1, np.int64)
        for i, (_, word) in enumerate(flat):
            self._prefix_WL[i, width - len(word) + 1 :] = word[:-1]
        self._any_token_WL = self._prefix_WL < 0

    def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        recent_WL = rows.last_answer_tokens(self._row_W, self._prefix_WL.shape[1])
        hit_W = ((recent_WL == self._prefix_WL) | self._any_token_WL).all(-1)
        row_E, id_E = (self._copy_in(torch.from_numpy(a[hit_W])) for a in (self._row_W, self._last_W))
        logits_SV[row_E, id_E] = -torch.inf


class MinTokens(LogitsProcessor):
    """min_tokens: end-of-sequence and stop tokens are forbidden until the answer is that long."""

    def __init__(self, min_tokens: list[int], stop_ids: Pairs, copy_in: CopyIn):
        self._copy_in = copy_in
        self._rows = np.array([row for row, _ in stop_ids], np.int64)
        self._min_tokens = np.array(min_tokens, np.int64)
        self._stop_ids = [ids for _, ids in stop_ids]

    def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        short = np.flatnonzero(rows.answer_lens(self._rows) < self._min_tokens)
        if len(short):
            row_E, id_E = _flatten([(int(self._rows[i]), self._stop_ids[i]) for i in short], self._copy_in)
            logits_SV[row_E, id_E] = -torch.inf


class LogitBias(LogitsProcessor):
    """logit_bias: a number added to the logits of some tokens."""

    def __init__(self, biased: Pairs, biases: list[npt.NDArray[np.float32]], copy_in: CopyIn):
        self._row_E, self._id_E = _flatten(biased, copy_in)
        self._bias_E = copy_in(torch.from_numpy(np.concatenate(biases)))

    def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        logits_SV[self._row_E, self._id_E] += self._bias_E


class Penalties(LogitsProcessor):
    """repetition_penalty over prompt and answer; then frequency and presence penalties over the answer.

    repetition (Keskar et al., https://arxiv.org/abs/1909.05858): positive logits are divided by it, others
    multiplied. frequency and presence: OpenAI's definition, logit - frequency * count - presence * (count > 0).

    Args:
        rows: rows with any penalty.
        repetition, frequency, presence: float32, one per entry of `rows`.
    """

    def __init__(
        self,
        rows: Int64Array,
        repetition: npt.NDArray[np.float32],
        frequency: npt.NDArray[np.float32],
        presence: npt.NDArray[np.float32],
        copy_in: CopyIn,
    ):
        self._copy_in = copy_in
        self._rows, self._penalties = rows, np.stack([repetition, frequency, presence], axis=1)
        repeats = repetition != 1.0
        self._repetition_rows, self._repetition = rows[repeats], copy_in(torch.from_numpy(repetition[repeats]))
        counts = (frequency != 0.0) | (presence != 0.0)
        self._count_rows = rows[counts]
        self._frequency = copy_in(torch.from_numpy(frequency[counts]))
        self._presence = copy_in(torch.from_numpy(presence[counts]))

    def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        if kernels.native is not None and logits_SV.is_cpu:
            self._apply_kernel(logits_SV, rows)
            return
        if len(self._repetition_rows):
            self._apply_repetition(logits_SV, rows)
        for start in range(0, len(self._count_rows), _ROWS_AT_ONCE):
            self._apply_counts(logits_SV, rows, slice(start, start + _ROWS_AT_ONCE))

    def _apply_kernel(self, logits_SV: torch.Tensor, history: RowHistory) -> None:
        assert logits_SV.is_contiguous()
        assert history.tokens.flags.c_contiguous
        rows = self._rows
        columns = (rows, history.slots_S[rows], history.num_prompt_S[rows], history.num_tokens_S[rows])
        places = np.stack(columns, axis=1)
        kernels.native.penalize(
            logits_SV.data_ptr(),
            logits_SV.shape[1],
            history.tokens.ctypes.data,
            history.tokens.shape[1],
            places.ctypes.data,
            self._penalties.ctypes.data,
            len(rows),
        )

    def _apply_repetition(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
        index, ids = rows.all_tokens(self._repetition_rows)
        row_E, id_E = self._pairs(self._repetition_rows, index, ids)
        penalty_E = self._repetition[self._copy_in(torch.from_numpy(index))]
        old_E = logits_SV[row_E, id_E]
        # A token seen twice is written twice, with the same bits.
        logits_SV[row_E, id_E] = torch.where(old_E > 0, old_E / penalty_E, old_E * penalty_E)

    def _apply_counts(self, logits_SV: torch.Tensor, rows: RowHistory, part: slice) -> None:
        batch_rows, vocab_size = self._count_rows[part], logits_SV.shape[1]
        index, ids = rows.answer_tokens(batch_rows)
        row_E, id_E = self._pairs(batch_rows, index, ids)
        index_E = self._copy_in(torch.from_numpy(index))
        counts = torch.zeros(len(batch_rows) * vocab_size, device=logits_SV.device)
        place_E = index_E * vocab_size + id_E
        counts.scatter_add_(0, place_E, torch.ones(len(place_E), device=logits_SV.device))  # whole numbers: exact
        old_E = logits_SV[row_E, id_E]
        less_E = old_E - self._frequency[part][index_E] * counts[place_E]
        logits_SV[row_E, id_E] = less_E - self._presence[part][index_E]

    def _pairs(
        self, batch_rows: Int64Array, index: Int64Array, ids: npt.NDArray[np.int32]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        row_E, id_E = torch.from_numpy(batch_rows[index]), torch.from_numpy(ids.astype(np.int64))
        return self._copy_in(row_E), self._copy_in(id_E)
