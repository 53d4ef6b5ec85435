"""Log probabilities of tokens, from the model's own logits before any sampling parameter touches them."""

from __future__ import annotations

import torch

from penstock.sampling.history import Int64Array
from penstock.sampling.ranking import rank_of, top_candidates
from penstock.scheduler.plan import TokenLogprobs

# Dimensions in tensor names: R rows, V vocabulary, K most likely tokens.


def token_logprobs(logits_RV: torch.Tensor, token_ids_R: torch.Tensor, num_top_R: Int64Array) -> list[TokenLogprobs]:
    """log_softmax at one token and at the most likely ones of each row.

    Args:
        logits_RV: float32, raw.
        token_ids_R: int64; the sampled token, or the actual one of a prompt.
        num_top_R: how many of the most likely tokens each row wants; at most V.
    """
    most = int(num_top_R.max())
    logprobs_RV = logits_RV.log_softmax(-1)
    ids_R1 = token_ids_R.unsqueeze(1)
    if most:
        top_RK = top_candidates(logits_RV, most)
        ranks_R = _ranks_by_list(logits_RV, token_ids_R, top_RK)
        ids_RK = torch.cat([ids_R1, top_RK], dim=1)
    else:
        ranks_R, ids_RK = rank_of(logits_RV, token_ids_R), ids_R1
    values = logprobs_RV.gather(1, ids_RK).tolist()
    return [
        TokenLogprobs(row_ids[: n + 1], row_values[: n + 1], rank)
        for row_ids, row_values, rank, n in zip(
            ids_RK.tolist(), values, ranks_R.tolist(), num_top_R.tolist(), strict=True
        )
    ]


def _ranks_by_list(logits_RV: torch.Tensor, token_ids_R: torch.Tensor, top_RK: torch.Tensor) -> torch.Tensor:
    """Rank of each token: its place among the most likely, counted over the vocabulary only where it is not there."""
    found_RK = top_RK == token_ids_R.unsqueeze(1)
    ranks_R = found_RK.to(torch.int8).argmax(-1) + 1
    absent = (~found_RK.any(-1)).nonzero().squeeze(1)
    if absent.numel():
        ranks_R[absent] = rank_of(logits_RV[absent], token_ids_R[absent])
    return ranks_R
