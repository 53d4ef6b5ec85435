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

from penstock.attention.context import AttentionStep
from penstock.sampling.history import Int64Array, ragged_ranges
from penstock.worker.input_batch import NO_SECOND_SEGMENT, InputBatch, StepRows

# Dimensions in tensor names: T running tokens, R rows, S rows that sample, B blocks.


@dataclass(frozen=True)
class StepInputs:
    """Inputs of one step.

    Attributes:
        token_ids_T: int64.
        attention: positions, KV slots and block tables.
        last_hidden_S: int64, on the host: the hidden row whose logits each sampling row samples from.
        first_hidden_R: int64, on the host: where each row's tokens start.
        segments_T: int64, 0 or 1: which of two texts a token belongs to; None if no row has a second one.
    """

    token_ids_T: torch.Tensor
    attention: AttentionStep
    last_hidden_S: Int64Array
    first_hidden_R: Int64Array
    segments_T: torch.Tensor | None = None


def build_inputs(rows: StepRows, batch: InputBatch, block_size: int, device: torch.device) -> StepInputs:
    """Inputs for the rows, which must not be empty."""
    slots_R, computed_R, lens_R = rows.slots_R, rows.num_computed_R, rows.num_tokens_R
    ends_R, context_R = np.cumsum(lens_R), computed_R + lens_R
    if int(ends_R[-1]) == len(lens_R):  # one token each
        slots_T, positions_T = slots_R, computed_R
    else:
        row_T, positions_T = ragged_ranges(computed_R, lens_R)
        slots_T = slots_R[row_T]
    block_T = positions_T // block_size
    kv_slots_T = batch.blocks[slots_T, block_T] * np.int64(block_size) + (positions_T - block_T * block_size)
    second_R = batch.second_segment[slots_R]
    segments_T = None
    if int(second_R.min()) != NO_SECOND_SEGMENT:
        segments_T = torch.from_numpy((positions_T >= batch.second_segment[slots_T]).astype(np.int64)).to(device)
    most_blocks = -(-int(context_R.max()) // block_size)
    attention = AttentionStep(
        query_lens=lens_R.tolist(),
        context_lens=context_R.tolist(),
        block_tables_RB=torch.from_numpy(batch.blocks[slots_R, :most_blocks]).to(device),
        slots_T=torch.from_numpy(kv_slots_T).to(device),
        positions_T=torch.from_numpy(positions_T).to(device),
    )
    return StepInputs(
        token_ids_T=torch.from_numpy(batch.tokens[slots_T, positions_T].astype(np.int64)).to(device),
        attention=attention,
        last_hidden_S=ends_R[rows.sampling] - 1,
        first_hidden_R=ends_R - lens_R,
        segments_T=segments_T,
    )
