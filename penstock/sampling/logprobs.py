"""Log probabilities of tokens, from the model's own logits before any sampling parameter touches them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from penstock.ops.token_logprobs import token_logprobs
from penstock.platforms.base import Device, HostCopy
from penstock.sampling.history import Int64Array
from penstock.scheduler.plan import TokenLogprobs

_ROWS_AT_ONCE = 16  # copies of a row of logits, when some of its tokens are scored
_IDS_AT_ONCE = 1 << 20  # bounds the tables, which are as wide as the vocabulary where all tokens are wanted


@dataclass(frozen=True)
class Scored:
    """Log probabilities of some rows on their way to the host.

    Attributes:
        parts: token ids, log probabilities and ranks, see `ops.token_logprobs`, of so many rows each.
        num_top_R: how many of the most likely tokens each row wants.
    """

    parts: list[tuple[HostCopy, HostCopy, HostCopy]]
    num_top_R: Int64Array

    def read(self) -> list[TokenLogprobs]:
        """One per row, once they are there."""
        found: list[TokenLogprobs] = []
        wanted = iter(self.num_top_R.tolist())
        for part in self.parts:
            ids_RK, logprobs_RK, ranks_R = (copy.wait() for copy in part)
            for ids, values, rank in zip(ids_RK.tolist(), logprobs_RK.tolist(), ranks_R.tolist(), strict=True):
                n = next(wanted)
                found.append(TokenLogprobs(ids[: n + 1], values[: n + 1], rank))
        return found


def score(logits_RV: torch.Tensor, token_ids_R: torch.Tensor, num_top_R: Int64Array, device: Device) -> Scored:
    """Of one token and of the most likely ones of each row; see `ops.token_logprobs` for the arguments."""
    most = int(num_top_R.max())
    step = max(1, _IDS_AT_ONCE // (1 + most))
    parts = []
    for start in range(0, len(num_top_R), step):
        rows = slice(start, start + step)
        part = token_logprobs(
            logits_RV[rows], token_ids_R[rows], device.copy_in(torch.from_numpy(num_top_R[rows])), most
        )
        parts.append((device.copy_out(part.ids_RK), device.copy_out(part.logprobs_RK), device.copy_out(part.ranks_R)))
    return Scored(parts, num_top_R)


def list_logprobs(
    logits_RV: torch.Tensor, token_ids_R: torch.Tensor, num_top_R: Int64Array, device: Device
) -> list[TokenLogprobs]:
    """The same, waited for, with no more of it in memory at once than has to be."""
    step = max(1, _IDS_AT_ONCE // (1 + int(num_top_R.max())))
    found: list[TokenLogprobs] = []
    for start in range(0, len(num_top_R), step):
        rows = slice(start, start + step)
        found += score(logits_RV[rows], token_ids_R[rows], num_top_R[rows], device).read()
    return found


def score_named(logits_V: torch.Tensor, token_ids: Int64Array, device: Device) -> Scored:
    """Log probabilities and ranks of some tokens of one row, an entry each: the same bits as any of them would have if
    sampled."""
    none_R = np.zeros(len(token_ids), np.int64)
    parts = []
    for start in range(0, len(token_ids), _ROWS_AT_ONCE):
        ids_R = device.copy_in(torch.from_numpy(token_ids[start : start + _ROWS_AT_ONCE]))
        parts += score(logits_V.repeat(len(ids_R), 1), ids_R, none_R[: len(ids_R)], device).parts
    return Scored(parts, none_R)
