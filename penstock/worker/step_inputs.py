"""Turns the rows of a step into the tensors that the model, attention and sampler take. Vectorised, no loop over rows.

Positions, slots and hidden rows of a ragged batch, row after row:

    row            0  0  0  1  2  2         T = 6 running tokens
    position       4  5  6  9  0  1         num_computed .. num_computed + num_tokens
    hidden row           2  3     5         the last one of each row that samples
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from penstock.attention.context import AttentionStep, DeviceLens
from penstock.sampling.history import Int64Array, ragged_ranges
from penstock.worker.input_batch import NO_SECOND_SEGMENT, InputBatch, StepRows
from penstock.worker.placing import Place
from penstock.worker.tokens_ahead import TokensAhead

# Dimensions in tensor names: T running tokens, R rows, S rows that sample, B blocks.


@dataclass(frozen=True)
class StepInputs:
    """Inputs of one step.

    Attributes:
        token_ids_T: int64.
        attention: positions, KV slots and block tables.
        last_hidden_S: int64, on the host: the hidden row whose logits each sampling row samples from.
        last_rows_S: the same on the device; None if it is every row.
        first_hidden_R: int64, on the host: where each row's tokens start.
        sampling_slots_S: int64, on the device: slots of the rows that sample; only with `ahead`.
        segments_T: int64, 0 or 1: which of two texts a token belongs to; None if no row has a second one.
    """

    token_ids_T: torch.Tensor
    attention: AttentionStep
    last_hidden_S: Int64Array
    last_rows_S: torch.Tensor | None
    first_hidden_R: Int64Array
    sampling_slots_S: torch.Tensor | None = None
    segments_T: torch.Tensor | None = None


class InputBuilder:
    """
    Args:
        batch: state of the requests.
        block_size: tokens per KV block.
        place: puts arrays on the device.
        needs_lens: attention reads the rows' lengths there.
        ahead: sampled tokens that only the device knows; None if the host knows all before a step is built.
    """

    def __init__(
        self,
        batch: InputBatch,
        block_size: int,
        place: Place,
        needs_lens: bool = False,
        ahead: TokensAhead | None = None,
    ):
        self._batch = batch
        self._block_size = block_size
        self._place = place
        self._needs_lens = needs_lens
        self._ahead = ahead

    def build(self, rows: StepRows) -> StepInputs:
        """Inputs for the rows, which must not be empty."""
        batch, block_size = self._batch, self._block_size
        slots_R, computed_R, lens_R = rows.slots_R, rows.num_computed_R, rows.num_tokens_R
        ends_R, context_R = np.cumsum(lens_R), computed_R + lens_R
        if int(ends_R[-1]) == len(lens_R):  # one token each
            slots_T, positions_T = slots_R, computed_R
        else:
            row_T, positions_T = ragged_ranges(computed_R, lens_R)
            slots_T = slots_R[row_T]
        block_T = positions_T // block_size
        kv_slots_T = batch.blocks[slots_T, block_T] * np.int64(block_size) + (positions_T - block_T * block_size)
        ids_T = batch.tokens[slots_T, positions_T].astype(np.int64)
        has_unknown = self._ahead is not None and self._ahead.name(ids_T, slots_T, positions_T)
        most_blocks = -(-int(context_R.max()) // block_size)
        last_hidden_S = ends_R[rows.sampling] - 1
        arrays = {
            "ids": ids_T,
            "positions": positions_T,
            "slots": kv_slots_T,
            "blocks": batch.blocks[slots_R, :most_blocks],
        }
        if len(last_hidden_S) != len(ids_T):
            arrays["last"] = last_hidden_S
        if self._ahead is not None:
            arrays["sampling"] = slots_R[rows.sampling]
        if int(batch.second_segment[slots_R].min()) != NO_SECOND_SEGMENT:
            arrays["segments"] = (positions_T >= batch.second_segment[slots_T]).astype(np.int64)
        if self._needs_lens:
            arrays["starts"] = np.concatenate(([0], ends_R)).astype(np.int32)
            arrays["contexts"] = context_R.astype(np.int32)
        placed = dict(zip(arrays, self._place(list(arrays.values())), strict=True))
        token_ids_T = placed["ids"]
        if self._ahead is not None and has_unknown:
            token_ids_T = self._ahead.look_up(token_ids_T)
        attention = AttentionStep(
            query_lens=lens_R.tolist(),
            context_lens=context_R.tolist(),
            block_tables_RB=placed["blocks"],
            slots_T=placed["slots"],
            positions_T=placed["positions"],
            lens=DeviceLens(placed["starts"], placed["contexts"]) if self._needs_lens else None,
        )
        return StepInputs(
            token_ids_T=token_ids_T,
            attention=attention,
            last_hidden_S=last_hidden_S,
            last_rows_S=placed.get("last"),
            first_hidden_R=ends_R - lens_R,
            sampling_slots_S=placed.get("sampling"),
            segments_T=placed.get("segments"),
        )
