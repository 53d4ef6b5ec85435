"""Log probabilities of tokens, from the model's own logits before any sampling parameter touches them."""

from __future__ import annotations

import torch

from penstock.ops.token_logprobs import token_logprobs
from penstock.sampling.history import Int64Array
from penstock.scheduler.plan import TokenLogprobs

_ROWS_AT_ONCE = 16  # copies of a row of logits, when some of its tokens are scored
_IDS_AT_ONCE = 1 << 20  # bounds the tables, which are as wide as the vocabulary where all tokens are wanted


def list_logprobs(logits_RV: torch.Tensor, token_ids_R: torch.Tensor, num_top_R: Int64Array) -> list[TokenLogprobs]:
    """Of one token and of the most likely ones of each row; see `ops.token_logprobs` for the arguments."""
    step = max(1, _IDS_AT_ONCE // (1 + int(num_top_R.max())))
    found: list[TokenLogprobs] = []
    for start in range(0, len(num_top_R), step):
        rows = slice(start, start + step)
        num_top = num_top_R[rows]
        part = token_logprobs(logits_RV[rows], token_ids_R[rows], torch.from_numpy(num_top).to(logits_RV.device))
        for ids, values, rank, n in zip(
            part.ids_RK.tolist(), part.logprobs_RK.tolist(), part.ranks_R.tolist(), num_top.tolist(), strict=True
        ):
            found.append(TokenLogprobs(ids[: n + 1], values[: n + 1], rank))
    return found


def named_logprobs(logits_V: torch.Tensor, token_ids: Int64Array) -> tuple[list[float], list[int]]:
    """Log probabilities and ranks of some tokens of one row: the same bits as any of them would have if sampled."""
    values: list[float] = []
    ranks: list[int] = []
    for start in range(0, len(token_ids), _ROWS_AT_ONCE):
        ids_R = torch.from_numpy(token_ids[start : start + _ROWS_AT_ONCE]).to(logits_V.device)
        logits_RV = logits_V.repeat(len(ids_R), 1)
        found = token_logprobs(logits_RV, ids_R, torch.zeros_like(ids_R))
        values += found.logprobs_RK[:, 0].tolist()
        ranks += found.ranks_R.tolist()
    return values, ranks
