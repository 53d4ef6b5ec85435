"""AttentionStep: what attention needs to know about one step, and nothing else of it.

The worker makes one per step; a backend's `build` turns it into its own metadata. No requests, no positions rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class AttentionStep:
    """A ragged batch of R rows with T running tokens in all, row after row.

    Attributes:
        query_lens: per row, how many tokens run now; at least 1.
        context_lens: per row, computed and running tokens together.
        block_tables_RB: int32 [R, most blocks of a row]; unused entries are 0, the null block.
        slots_T: int64; block id * block_size + offset of each running token.
        positions_T: int64; absolute position of each running token.
    """

    query_lens: list[int]
    context_lens: list[int]
    block_tables_RB: torch.Tensor
    slots_T: torch.Tensor
    positions_T: torch.Tensor

    def __post_init__(self) -> None:
        assert len(self.query_lens) == len(self.context_lens) == self.block_tables_RB.shape[0]
        assert sum(self.query_lens) == self.slots_T.shape[0] == self.positions_T.shape[0]
