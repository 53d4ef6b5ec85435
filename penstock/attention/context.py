"""AttentionStep: what attention needs to know about one step, and nothing else of it.

The worker makes one per step; a backend's `build` turns it into its own metadata. No requests, no positions rules.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class DeviceLens:
    """The lengths of a step's rows as kernels read them, on the device.

    Attributes:
        query_starts_N: int32 [R + 1], the first running token of each row, then T.
        context_lens_R: int32 [R], computed and running tokens together.
    """

    query_starts_N: torch.Tensor
    context_lens_R: torch.Tensor


@dataclass(frozen=True)
class AttentionStep:
    """A ragged batch of R rows with T running tokens in all, row after row.

    Attributes:
        query_lens: per row, how many tokens run now; at least 1.
        context_lens: per row, computed and running tokens together.
        block_tables_RB: int32 [R, most blocks of a row]; unused entries are 0, the null block.
        slots_T: int64; block id * block_size + offset of each running token.
        positions_T: int64; absolute position of each running token.
        lens: the lengths once more, for backends that read them on the device (`AttentionBackend.needs_lens`). Such a
            backend makes them from the lists where they are None.
    """

    query_lens: list[int]
    context_lens: list[int]
    block_tables_RB: torch.Tensor
    slots_T: torch.Tensor
    positions_T: torch.Tensor
    lens: DeviceLens | None = None

    def __post_init__(self) -> None:
        assert len(self.query_lens) == len(self.context_lens) == self.block_tables_RB.shape[0]
        assert sum(self.query_lens) == self.slots_T.shape[0] == self.positions_T.shape[0]
