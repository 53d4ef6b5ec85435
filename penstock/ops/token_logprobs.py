"""Log probabilities of one given token and of the most likely ones of each row of logits, and the token's rank."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from penstock.ops import kernels
from penstock.ops import triton as triton_ops
from penstock.ops.ranking import rank_of, top_candidates

# Dimensions in tensor names: R rows, V vocabulary, K most likely tokens.
_MOST_BY_KERNEL = 64  # likely tokens up to which looking for one after the other pays on a GPU
_AT_ONCE = 1 << 20  # logits that the twin works on at once


@dataclass(frozen=True)
class TopLogprobs:
    """One row per row of logits.

    Attributes:
        ids_RK, logprobs_RK: int64, float32 [R, 1 + most]: the given token, then the most likely ones in order. A row
            that wanted fewer than others ends with places that mean nothing.
        ranks_R: int64; the given token's place in the row's order, from 1.
    """

    ids_RK: torch.Tensor
    logprobs_RK: torch.Tensor
    ranks_R: torch.Tensor


def token_logprobs(
    logits_RV: torch.Tensor, token_ids_R: torch.Tensor, num_top_R: torch.Tensor, most: int | None = None
) -> TopLogprobs:
    """log_softmax at one token and at the most likely ones of each row.

    Args:
        logits_RV: float32, contiguous.
        token_ids_R: int64, within the vocabulary.
        num_top_R: int64, how many of the most likely tokens each row wants; 0..V.
        most: the largest of these, for those who know it; asking a device takes until it has done all before.
    """
    most = int(num_top_R.max()) if most is None else most
    assert logits_RV.dtype is torch.float32
    assert logits_RV.is_contiguous()
    if kernels.native is None or not logits_RV.is_cpu:
        if triton_ops.wanted(logits_RV) and most <= _MOST_BY_KERNEL:
            found = triton_ops.load("penstock.ops.triton.token_logprobs:token_logprobs")(logits_RV, token_ids_R, most)
            return TopLogprobs(*found)
        return token_logprobs_twin(logits_RV, token_ids_R, num_top_R, most)
    num_rows, vocab_size = logits_RV.shape
    width = 1 + most
    ids_RK = torch.zeros(num_rows, width, dtype=torch.int64)
    logprobs_RK = torch.zeros(num_rows, width)
    ranks_R = torch.empty(num_rows, dtype=torch.int64)
    kernels.native.token_logprobs(
        logits_RV.data_ptr(),
        token_ids_R.data_ptr(),
        num_top_R.data_ptr(),
        ids_RK.data_ptr(),
        logprobs_RK.data_ptr(),
        ranks_R.data_ptr(),
        num_rows,
        vocab_size,
        width,
    )
    return TopLogprobs(ids_RK, logprobs_RK, ranks_R)


def token_logprobs_twin(
    logits_RV: torch.Tensor, token_ids_R: torch.Tensor, num_top_R: torch.Tensor, most: int | None = None
) -> TopLogprobs:
    """The same in plain torch."""
    most = int(num_top_R.max()) if most is None else most
    parts = zip(*(x.split(max(1, _AT_ONCE // logits_RV.shape[1])) for x in (logits_RV, token_ids_R)), strict=True)
    found = [_of_part(logits, token_ids, most) for logits, token_ids in parts]
    return TopLogprobs(*(torch.cat(columns) for columns in zip(*found, strict=True)))


def _of_part(
    logits_RV: torch.Tensor, token_ids_R: torch.Tensor, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logprobs_RV = logits_RV.log_softmax(-1)
    ids_RK = token_ids_R.unsqueeze(1)
    top_RK = top_candidates(logits_RV, most) if most else None
    if top_RK is not None and logits_RV.is_cpu:
        ranks_R = _ranks_by_list(logits_RV, token_ids_R, top_RK)
    else:  # elsewhere, asking which are in the list takes longer than counting
        ranks_R = rank_of(logits_RV, token_ids_R)
    if top_RK is not None:
        ids_RK = torch.cat([ids_RK, top_RK], dim=1)
    return ids_RK, logprobs_RV.gather(1, ids_RK), ranks_R


def _ranks_by_list(logits_RV: torch.Tensor, token_ids_R: torch.Tensor, top_RK: torch.Tensor) -> torch.Tensor:
    """Rank of each token: its place among the most likely, counted over the vocabulary only where it is not there."""
    found_RK = top_RK == token_ids_R.unsqueeze(1)
    ranks_R = found_RK.to(torch.int8).argmax(-1) + 1
    absent = (~found_RK.any(-1)).nonzero().squeeze(1)
    if absent.numel():
        ranks_R[absent] = rank_of(logits_RV[absent], token_ids_R[absent])
    return ranks_R
