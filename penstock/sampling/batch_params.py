"""Sampling parameters as columns: a table with a row per slot of the worker, and the selection for one step's rows.

A request's parameters are checked and turned into numbers once, when it takes its slot. A selection is rebuilt only
when the rows of the batch change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from penstock.errors import ClientError
from penstock.params import SamplingParams
from penstock.sampling.counter_rng import stream_key
from penstock.sampling.history import Int64Array
from penstock.sampling.logits_processors import (
    AllowedTokens,
    BadWords,
    CopyIn,
    LogitBias,
    LogitsProcessor,
    MinTokens,
    Penalties,
)

NO_LOGPROBS = -1

_COLUMNS = np.dtype(
    [
        ("temperature", np.float32),
        ("top_p", np.float64),
        ("top_k", np.int64),
        ("min_p", np.float32),
        ("repetition", np.float32),
        ("frequency", np.float32),
        ("presence", np.float32),
        ("key", np.uint64),
        ("min_tokens", np.int64),
        ("num_logprobs", np.int64),
    ]
)


@dataclass(frozen=True)
class TokenLists:
    """The parts of a request's parameters that are lists of token ids; None where it has none."""

    allowed: Int64Array | None
    biased: Int64Array | None
    bias: npt.NDArray[np.float32] | None
    bad_words: list[list[int]] | None
    stop_ids: Int64Array | None  # only if min_tokens needs them
    scored: Int64Array | None  # whose log probabilities are wanted

    @classmethod
    def of(cls, params: SamplingParams, vocab_size: int) -> TokenLists | None:
        """The lists, or None if all are empty.

        Raises:
            ClientError: a token id is outside of the vocabulary.
        """
        allowed = _token_ids(params.allowed_token_ids, "allowed_token_ids", vocab_size)
        biased = _token_ids(list(params.logit_bias or ()), "logit_bias", vocab_size)
        bias = None if biased is None else np.array(list((params.logit_bias or {}).values()), np.float32)
        bad_words = [word for word in params.bad_words_token_ids or () if word]
        for word in bad_words:
            _token_ids(word, "bad_words", vocab_size)
        # A stop id that does not exist can never be sampled, so there is nothing to forbid.
        stop = [t for t in sorted(params.all_stop_token_ids) if 0 <= t < vocab_size] if params.min_tokens else []
        scored = _token_ids(params.logprob_token_ids, "logprob_token_ids", vocab_size)
        if allowed is None and biased is None and not bad_words and not stop and scored is None:
            return None
        return cls(allowed, biased, bias, bad_words or None, np.array(stop, np.int64) if stop else None, scored)


def _token_ids(ids: list[int] | None, param: str, vocab_size: int) -> Int64Array | None:
    if not ids:
        return None
    for token_id in ids:
        if not 0 <= token_id < vocab_size:
            raise ClientError(f"{param} holds token id {token_id}, but the vocabulary has {vocab_size}.", param)
    return np.unique(np.array(ids, np.int64)) if param == "allowed_token_ids" else np.array(ids, np.int64)


@dataclass(frozen=True)
class RowGroup:
    """Some of the rows.

    Attributes:
        rows: their indices in the step's logits, ascending.
        covers_all: whether they are all the rows there are.
        index_R: the rows on the device.
    """

    rows: Int64Array
    covers_all: bool
    index_R: torch.Tensor


@dataclass(frozen=True)
class BatchParams:
    """The parameters of one step's S sampling rows.

    Attributes:
        any_draw: whether any row draws its token; the others take the most likely one.
        logprobs: rows that want logprobs; `num_logprobs_S` says how many, the vocabulary's size for all.
        scored: rows that want the log probabilities of some tokens, and of which; they are among `logprobs`.
        temperature_S, min_p_S (float32), top_k_S (int64, 0 is off), top_p_S (float64): on the device.
        keys_S: starts of the rows' random streams.
        processors: what changes logits, in order; empty if no row has such a parameter.
    """

    any_draw: bool
    logprobs: RowGroup
    num_logprobs_S: Int64Array
    scored: list[tuple[int, Int64Array]]
    temperature_S: torch.Tensor
    min_p_S: torch.Tensor
    top_k_S: torch.Tensor
    top_p_S: torch.Tensor
    keys_S: npt.NDArray[np.uint64]
    processors: list[LogitsProcessor]


class ParamsTable:
    """Parameters of every request that has a slot.

    Args:
        vocab_size: width of the model's logits.
        copy_in: puts the tensors of selections on the device.
    """

    def __init__(self, vocab_size: int, copy_in: CopyIn):
        self._vocab_size = vocab_size
        self._copy_in = copy_in
        self._columns = np.zeros(0, _COLUMNS)
        self._lists: dict[int, TokenLists] = {}
        self._selected_for: bytes | None = None
        self._selected: BatchParams | None = None

    def set(self, slot: int, params: SamplingParams, seed: int) -> None:
        """Give a slot its request's parameters.

        Args:
            seed: of the request's random numbers.

        Raises:
            ClientError: a token id is outside of the vocabulary; the slot is unchanged.
        """
        lists = TokenLists.of(params, self._vocab_size)
        if slot >= len(self._columns):
            grown = np.zeros(max(slot + 1, 2 * len(self._columns)), _COLUMNS)
            grown[: len(self._columns)] = self._columns
            self._columns = grown
        all_tokens = self._vocab_size
        wanted = NO_LOGPROBS if params.logprobs is None else params.logprobs if params.logprobs >= 0 else all_tokens
        if params.logprob_token_ids:
            wanted = 0  # those are wanted instead of the most likely ones
        top_k = params.top_k if params.top_k < self._vocab_size else 0
        self._columns[slot] = (
            params.temperature,
            params.top_p,
            top_k,
            params.min_p,
            params.repetition_penalty,
            params.frequency_penalty,
            params.presence_penalty,
            stream_key(seed),
            params.min_tokens,
            min(wanted, self._vocab_size),
        )
        if lists is None:
            self._lists.pop(slot, None)
        else:
            self._lists[slot] = lists
        self._selected_for = None

    def drop(self, slot: int) -> None:
        """Forget a slot's request."""
        self._lists.pop(slot, None)

    def select(self, slots_S: Int64Array) -> BatchParams:
        """The parameters of these slots, in this order; the same object as long as nothing changes."""
        wanted = slots_S.tobytes()
        if self._selected is None or self._selected_for != wanted:
            self._selected, self._selected_for = self._build(slots_S), wanted
        return self._selected

    def _build(self, slots_S: Int64Array) -> BatchParams:
        columns = self._columns[slots_S]
        return BatchParams(
            any_draw=bool((columns["temperature"] != 0.0).any()),
            logprobs=self._group(columns["num_logprobs"] != NO_LOGPROBS),
            num_logprobs_S=columns["num_logprobs"].copy(),
            scored=self._scored(slots_S),
            temperature_S=self._tensor(columns["temperature"]),
            min_p_S=self._tensor(columns["min_p"]),
            top_k_S=self._tensor(columns["top_k"]),
            top_p_S=self._tensor(columns["top_p"]),
            keys_S=columns["key"].copy(),
            processors=self._processors(columns, slots_S),
        )

    def _tensor(self, column: npt.NDArray[np.generic]) -> torch.Tensor:
        return self._copy_in(torch.from_numpy(column.copy()))

    def _group(self, mask: npt.NDArray[np.bool_]) -> RowGroup:
        rows = np.flatnonzero(mask)
        return RowGroup(rows, len(rows) == len(mask), self._tensor(rows))

    def _scored(self, slots_S: Int64Array) -> list[tuple[int, Int64Array]]:
        lists = self._lists
        rows = ((row, lists[slot].scored) for row, slot in enumerate(slots_S.tolist()) if slot in lists)
        return [(row, ids) for row, ids in rows if ids is not None]

    def _processors(self, columns: npt.NDArray[np.void], slots_S: Int64Array) -> list[LogitsProcessor]:
        found: list[LogitsProcessor] = []
        if self._lists:
            found += self._list_processors(columns, slots_S)
        penalised = np.flatnonzero(
            (columns["repetition"] != 1.0) | (columns["frequency"] != 0.0) | (columns["presence"] != 0.0)
        )
        if len(penalised):
            repetition, frequency, presence = (columns[n][penalised] for n in ("repetition", "frequency", "presence"))
            found.append(Penalties(penalised, repetition, frequency, presence, self._copy_in))
        return found

    def _list_processors(self, columns: npt.NDArray[np.void], slots_S: Int64Array) -> list[LogitsProcessor]:
        lists = self._lists
        rows = [(row, lists[slot]) for row, slot in enumerate(slots_S.tolist()) if slot in lists]
        found: list[LogitsProcessor] = []
        if allowed := [(row, of.allowed) for row, of in rows if of.allowed is not None]:
            found.append(AllowedTokens(allowed, self._copy_in))
        if words := [(row, of.bad_words) for row, of in rows if of.bad_words is not None]:
            found.append(BadWords(words, self._copy_in))
        if stops := [(row, of.stop_ids) for row, of in rows if of.stop_ids is not None]:
            needed = [int(columns["min_tokens"][row]) for row, _ in stops]
            found.append(MinTokens(needed, stops, self._copy_in))
        if biased := [(row, of.biased) for row, of in rows if of.biased is not None]:
            biases = [of.bias for _, of in rows if of.bias is not None]
            found.append(LogitBias(biased, biases, self._copy_in))
        return found
