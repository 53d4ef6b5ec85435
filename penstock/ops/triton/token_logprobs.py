"""Log probabilities of a given and of the most likely tokens, as `ops/token_logprobs.py` tells, without sorting.

A program reads its row once for the sum, once for the given token's rank, and once more for every likely token.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from penstock.ops.triton.choose_tokens import key_of

# Dimensions in tensor names: R rows, V vocabulary, K most likely tokens.
_BLOCK = 2048


@triton.jit
def places_of(logits, first, width, block: tl.constexpr):
    """int64 for each token of a block, larger for those that come first in the row's order; -2^63 beyond the row."""
    token = first + tl.arange(0, block)
    x = tl.load(logits + token, token < width, other=0.0)
    place = (key_of(x).to(tl.int64) << 32) | (0x7FFFFFFF - token)
    return tl.where(token < width, place, -0x7FFFFFFFFFFFFFFF - 1)


@triton.jit(do_not_specialize=["most"])  # of any row of a step: it must not take a compiler to ask for one more
def logprobs_kernel(logits, tokens, ids, logprobs, ranks, width, most, block: tl.constexpr):
    row = tl.program_id(0)
    logits += row.to(tl.int64) * width
    ids += row * (most + 1)
    logprobs += row * (most + 1)
    largest = tl.full((block,), float("-inf"), tl.float32)
    sums = tl.zeros((block,), tl.float32)
    for first in tl.range(0, width, block, num_stages=3):
        token = first + tl.arange(0, block)
        x = tl.load(logits + token, token < width, other=float("-inf"))
        larger = tl.maximum(largest, x)
        finite = tl.where(larger == float("-inf"), 0.0, larger)  # -inf less -inf would not be a number
        sums = sums * tl.exp(largest - finite) + tl.exp(x - finite)
        largest = larger
    most_of_all = tl.max(largest, 0)
    total = tl.sum(sums * tl.exp(tl.where(sums > 0, largest - most_of_all, 0.0)), 0)
    log_total = tl.log(total)
    given = tl.load(tokens + row)
    value = tl.load(logits + given)
    tl.store(ids, given)
    tl.store(logprobs, value - most_of_all - log_total)
    own = (key_of(value).to(tl.int64) << 32) | (0x7FFFFFFF - given)
    ahead = tl.zeros((block,), tl.int32)
    for first in tl.range(0, width, block, num_stages=3):
        ahead += (places_of(logits, first, width, block) > own).to(tl.int32)
    tl.store(ranks + row, (tl.sum(ahead, 0) + 1).to(tl.int64))
    last = tl.full((), 0x7FFFFFFFFFFFFFFF, tl.int64)
    for place in range(most):
        best = tl.full((block,), -0x7FFFFFFFFFFFFFFF - 1, tl.int64)
        for first in tl.range(0, width, block, num_stages=3):
            here = places_of(logits, first, width, block)
            best = tl.maximum(best, tl.where(here < last, here, -0x7FFFFFFFFFFFFFFF - 1))
        last = tl.max(best, 0)
        found = 0x7FFFFFFF - (last & 0x7FFFFFFF)
        tl.store(ids + 1 + place, found)
        tl.store(logprobs + 1 + place, tl.load(logits + found) - most_of_all - log_total)


def token_logprobs(
    logits_RV: torch.Tensor, token_ids_R: torch.Tensor, most: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids int64 [R, 1 + most], log probabilities float32 likewise, ranks int64 [R])."""
    rows, width = logits_RV.shape
    ids_RK = torch.empty(rows, 1 + most, dtype=torch.int64, device=logits_RV.device)
    logprobs_RK = torch.empty(rows, 1 + most, dtype=torch.float32, device=logits_RV.device)
    ranks_R = torch.empty(rows, dtype=torch.int64, device=logits_RV.device)
    if rows:
        columns = (token_ids_R.contiguous(), ids_RK, logprobs_RK, ranks_R)
        logprobs_kernel[(rows,)](logits_RV, *columns, width, most, _BLOCK, num_warps=8)
    return ids_RK, logprobs_RK, ranks_R
