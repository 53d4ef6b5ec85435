"""InputBatch: what the worker remembers of each request between steps, in slots of persistent arrays.

Applies what a StepPlan says (who is gone, who is new, whose block table grew) and appends sampled tokens itself. Knows
no model; `step_inputs.py` turns its arrays into a step's tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.sampling.batch_params import BatchParams, CopyIn, ParamsTable
from penstock.sampling.history import Int64Array, RowHistory
from penstock.scheduler.plan import NewRow, Row, StepPlan

NO_PROMPT_LOGPROBS = -1
NO_SECOND_SEGMENT = np.iinfo(np.int64).max
_FIRST_SLOTS, _FIRST_TOKENS, _FIRST_BLOCKS = 8, 256, 16

_NONE = np.zeros(0, np.int64)

Table = npt.NDArray[np.int32]


@dataclass(frozen=True)
class StepRows:
    """The rows of a plan, as arrays in its order.

    Attributes:
        slots_R, num_computed_R, num_tokens_R: int64.
        sampling: indices of the rows that sample.
        failed: why rows fail, by index. They do not sample, but they run: others may share what they compute.
        ended: slots of those among them that would have sampled now.
    """

    slots_R: Int64Array
    num_computed_R: Int64Array
    num_tokens_R: Int64Array
    sampling: Int64Array
    failed: dict[int, str]
    ended: Int64Array


class InputBatch:
    """State of every request that the worker knows.

    Args:
        vocab_size: width of the model's logits.
        copy_in: of the device where sampling parameters are kept.
    """

    def __init__(self, vocab_size: int, copy_in: CopyIn):
        self.tokens: Table = np.zeros((_FIRST_SLOTS, _FIRST_TOKENS), np.int32)
        self.blocks: Table = np.zeros((_FIRST_SLOTS, _FIRST_BLOCKS), np.int32)  # 0 beyond a request's own
        self.num_tokens = np.zeros(_FIRST_SLOTS, np.int64)
        self.num_known = np.zeros(_FIRST_SLOTS, np.int64)  # of these; kept by `TokensAhead` if there is one
        self.tenants = np.zeros(_FIRST_SLOTS, np.int64)  # how many requests a slot has had
        self.num_prompt = np.zeros(_FIRST_SLOTS, np.int64)
        self.num_blocks = np.zeros(_FIRST_SLOTS, np.int64)
        self.num_prompt_logprobs = np.full(_FIRST_SLOTS, NO_PROMPT_LOGPROBS, np.int64)
        self.second_segment = np.full(_FIRST_SLOTS, NO_SECOND_SEGMENT, np.int64)  # where it begins
        self._vocab_size = vocab_size
        self._params = ParamsTable(vocab_size, copy_in)
        self._slot_of: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._free = list(range(_FIRST_SLOTS - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def num_slots(self) -> int:
        return len(self.num_tokens)

    def apply(self, plan: StepPlan) -> StepRows:
        """Bring the state up to date with a plan and return its rows."""
        for request_id in plan.gone:
            self._remove(request_id)
        for new in plan.new:
            self._add(new)
        slot_of, rows = self._slot_of, plan.rows
        slots = [slot_of[r.request_id] for r in rows]
        for slot, row in zip(slots, rows, strict=True):
            if row.new_block_ids:
                self._append_blocks(slot, row.new_block_ids)
        return self._step_rows(rows, np.array(slots, np.int64))

    def _step_rows(self, rows: list[Row], slots_R: Int64Array) -> StepRows:
        computed_R = np.array([r.num_computed for r in rows], np.int64)
        tokens_R = np.array([r.num_tokens for r in rows], np.int64)
        failed: dict[int, str] = {}
        if self._failed:
            failed = {i: self._failed[r.request_id] for i, r in enumerate(rows) if r.request_id in self._failed}
        sampling = np.flatnonzero([r.samples and i not in failed for i, r in enumerate(rows)])
        ended = slots_R[[i for i in failed if rows[i].samples]] if failed else _NONE
        ends_R, known_R = computed_R + tokens_R, self.num_tokens[slots_R]
        assert (ends_R <= known_R).all(), "a plan runs tokens that the worker does not have"
        assert (ends_R[sampling] == known_R[sampling]).all(), "a row samples before its last token"
        return StepRows(slots_R, computed_R, tokens_R, sampling, failed, ended)

    def params(self, slots_S: Int64Array) -> BatchParams:
        """Sampling parameters of these slots."""
        return self._params.select(slots_S)

    def history(self, slots_S: Int64Array) -> RowHistory:
        """What these slots' requests have seen so far."""
        return RowHistory(self.tokens, slots_S, self.num_prompt[slots_S], self.num_tokens[slots_S])

    def append(self, slots_S: Int64Array, token_ids_S: Int64Array) -> None:
        """Add one sampled token to each of these slots."""
        places = self.lengthen(slots_S)  # may make another table
        self.tokens[slots_S, places] = token_ids_S

    def lengthen(self, slots_S: Int64Array) -> Int64Array:
        """Make each of these one token longer; the columns of the new ones, which have yet to be written."""
        places = self.num_tokens[slots_S]
        if len(places) and int(places.max()) >= self.tokens.shape[1]:
            self.tokens = _widened(self.tokens, int(places.max()) + 1)
        self.num_tokens[slots_S] = places + 1
        return places

    def _add(self, new: NewRow) -> None:
        assert new.request_id not in self._slot_of
        slot = self._slot_of[new.request_id] = self._free.pop() if self._free else self._grow()
        token_ids = np.array(new.token_ids, np.int64)
        wanted = new.params.prompt_logprobs
        try:
            self._params.set(slot, new.params, new.params.seed or 0)  # the front gives a seed to whoever brings none
            self._check_ids(token_ids)
        except Exception as e:  # boundary: whatever is wrong with one request's values ends that request only
            self._failed[new.request_id] = f"{type(e).__name__}: {e}"
            token_ids, wanted = token_ids.clip(0, self._vocab_size - 1), None
        count = len(token_ids)
        if count > self.tokens.shape[1]:
            self.tokens = _widened(self.tokens, count)
        self.tokens[slot, :count] = token_ids
        self.num_tokens[slot], self.num_prompt[slot] = count, new.num_prompt_tokens
        self.num_known[slot] = count
        self.tenants[slot] += 1
        second = new.pooling.second_segment if new.pooling is not None else None
        self.second_segment[slot] = NO_SECOND_SEGMENT if second is None else second
        if wanted is None:
            self.num_prompt_logprobs[slot] = NO_PROMPT_LOGPROBS
        else:
            self.num_prompt_logprobs[slot] = self._vocab_size if wanted < 0 else min(wanted, self._vocab_size)

    def _check_ids(self, token_ids: Int64Array) -> None:
        if token_ids.min() < 0 or token_ids.max() >= self._vocab_size:
            raise ValueError(f"prompt token ids must lie in 0..{self._vocab_size - 1}")

    def _remove(self, request_id: str) -> None:
        self._failed.pop(request_id, None)
        slot = self._slot_of.pop(request_id)
        self.blocks[slot, : self.num_blocks[slot]] = 0
        self.num_blocks[slot] = 0
        self._params.drop(slot)
        self._free.append(slot)

    def _append_blocks(self, slot: int, block_ids: list[int]) -> None:
        start = int(self.num_blocks[slot])
        end = start + len(block_ids)
        if end > self.blocks.shape[1]:
            self.blocks = _widened(self.blocks, end)
        self.blocks[slot, start:end] = block_ids
        self.num_blocks[slot] = end

    def _grow(self) -> int:
        """Twice as many slots; returns a free one."""
        old = len(self.num_tokens)
        self.tokens, self.blocks = _heightened(self.tokens), _heightened(self.blocks)
        self.num_tokens, self.num_prompt = _heightened(self.num_tokens), _heightened(self.num_prompt)
        self.num_blocks = _heightened(self.num_blocks)
        self.num_known, self.tenants = _heightened(self.num_known), _heightened(self.tenants)
        self.num_prompt_logprobs = _heightened(self.num_prompt_logprobs)
        self.second_segment = _heightened(self.second_segment)
        self._free = list(range(2 * old - 1, old, -1))
        return old


def _widened(table: Table, columns: int) -> Table:
    wider = np.zeros((table.shape[0], max(columns, 2 * table.shape[1])), table.dtype)  # untouched pages cost nothing
    wider[:, : table.shape[1]] = table
    return wider


def _heightened(array: npt.NDArray) -> npt.NDArray:
    return np.concatenate([array, np.zeros_like(array)])
