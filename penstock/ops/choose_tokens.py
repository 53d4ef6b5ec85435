"""Chooses one token per row of logits: the most likely one, or one drawn from the softmax by a uniform number.

A row's token depends on its own logits, parameters and number only, bit for bit. In the twin that rests on softmax over
a whole row (torch computes each row by itself), exact elementwise operations, and running sums in float64, made in
sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from penstock.ops import kernels
from penstock.ops import triton as triton_ops
from penstock.ops.ranking import first_max, top_candidates

# Dimensions in tensor names: R rows, V vocabulary, N blocks of B tokens, K candidates.
NO_TOKEN = -1
_AT_ONCE = 1 << 20  # logits that the twin works on at once: temporaries stay small and are reused
_BLOCK = 128
_FEW, _MANY = 64, 1024  # how many candidates are looked at before a row is sorted whole


@dataclass(frozen=True)
class Choice:
    """How to choose, one entry per row.

    Attributes:
        temperature_R: float32; 0 takes the most likely token, and the others below do not matter.
        min_p_R: float32. top_k_R: int64, 0 is off. top_p_R: float64.
        uniform_R: float64 in [0, 1).
    """

    temperature_R: torch.Tensor
    min_p_R: torch.Tensor
    top_k_R: torch.Tensor
    top_p_R: torch.Tensor
    uniform_R: torch.Tensor

    def of(self, rows: torch.Tensor | slice) -> Choice:
        """The same for some of the rows."""
        return Choice(
            self.temperature_R[rows], self.min_p_R[rows], self.top_k_R[rows], self.top_p_R[rows], self.uniform_R[rows]
        )


def choose_tokens(logits_RV: torch.Tensor, choice: Choice) -> torch.Tensor:
    """Int64 [R]; NO_TOKEN where a row has no finite largest logit.

    In this order: temperature; min_p, the share of the largest probability that a token must have; top_k, the first k
    tokens in the row's order (see `ranking`); top_p, the first tokens in that order whose probabilities come to this
    share of what the others have kept. Then the uniform number is looked up in the running sum of what is left, by id.

    Args:
        logits_RV: float32, contiguous.
    """
    assert logits_RV.dtype is torch.float32
    assert logits_RV.is_contiguous()
    if kernels.native is None or not logits_RV.is_cpu:
        if triton_ops.wanted(logits_RV):
            kernel = triton_ops.load("penstock.ops.triton.choose_tokens:choose_tokens")
            chosen_R: torch.Tensor = kernel(logits_RV, *vars(choice).values())
            return chosen_R
        return choose_tokens_twin(logits_RV, choice)
    num_rows, vocab_size = logits_RV.shape
    tokens_R = torch.empty(num_rows, dtype=torch.int64)
    kernels.native.choose_tokens(
        logits_RV.data_ptr(),
        choice.temperature_R.data_ptr(),
        choice.min_p_R.data_ptr(),
        choice.top_k_R.data_ptr(),
        choice.top_p_R.data_ptr(),
        choice.uniform_R.data_ptr(),
        tokens_R.data_ptr(),
        num_rows,
        vocab_size,
    )
    return tokens_R


def choose_tokens_twin(logits_RV: torch.Tensor, choice: Choice) -> torch.Tensor:
    """The same in plain torch."""
    tokens_R = torch.empty(logits_RV.shape[0], dtype=torch.int64, device=logits_RV.device)
    greedy_R = choice.temperature_R == 0
    truncated_R = ~greedy_R & ((choice.top_k_R > 0) | (choice.top_p_R < 1))
    step = max(1, _AT_ONCE // logits_RV.shape[1])
    for method, of_method_R in (
        (_greedy, greedy_R),
        (_draw_plain, ~greedy_R & ~truncated_R),
        (_draw_truncated, truncated_R),
    ):
        for part in of_method_R.nonzero().squeeze(1).split(step):
            if len(part):
                tokens_R[part] = method(logits_RV[part], choice.of(part))
    return tokens_R


def _greedy(logits_RV: torch.Tensor, choice: Choice) -> torch.Tensor:
    values_R, ids_R = first_max(logits_RV)
    return torch.where(values_R.isfinite(), ids_R, NO_TOKEN)


def _draw_plain(logits_RV: torch.Tensor, choice: Choice) -> torch.Tensor:
    weights_RV = (logits_RV / choice.temperature_R.unsqueeze(1)).softmax(-1)
    if bool((choice.min_p_R > 0).any()):
        floor_R1 = (weights_RV.amax(-1) * choice.min_p_R).unsqueeze(1)
        weights_RV = weights_RV.masked_fill_(weights_RV < floor_R1, 0.0)
    return _pick(weights_RV, choice.uniform_R)


def _pick(weights_RV: torch.Tensor, uniform_R: torch.Tensor) -> torch.Tensor:
    """Where the running sums of weights first exceed a share of their total.

    In two levels, so that the sequential float64 sums are short: which block of tokens, then which token of it.
    """
    num_rows, vocab_size = weights_RV.shape
    if vocab_size % _BLOCK:
        weights_RV = torch.nn.functional.pad(weights_RV, (0, _BLOCK - vocab_size % _BLOCK))
    weights_RNB = weights_RV.view(num_rows, -1, _BLOCK)
    block_cdf_RN = weights_RNB.sum(-1).cumsum(-1, dtype=torch.float64)
    target_R1 = uniform_R.unsqueeze(1) * block_cdf_RN[:, -1:]
    last_block = weights_RNB.shape[1] - 1
    block_R1 = torch.searchsorted(block_cdf_RN, target_R1, right=True).clamp_(max=last_block)
    upper_R1 = block_cdf_RN.gather(1, block_R1)
    lower_R1 = block_cdf_RN.gather(1, (block_R1 - 1).clamp_(min=0)).masked_fill_(block_R1 == 0, 0.0)
    # How far into the block the target lies, 0..1: taken as a share, because the block's float32 sum is rounded.
    share_R1 = ((target_R1 - lower_R1) / (upper_R1 - lower_R1)).clamp_(max=1.0 - 2.0**-53)
    rows_R = torch.arange(num_rows, device=weights_RV.device)
    cdf_RB = weights_RNB[rows_R, block_R1.squeeze(1)].cumsum(-1, dtype=torch.float64)
    inside_R1 = torch.searchsorted(cdf_RB, share_R1 * cdf_RB[:, -1:], right=True).clamp_(max=_BLOCK - 1)
    return torch.where(block_cdf_RN[:, -1] > 0, (block_R1 * _BLOCK + inside_R1).squeeze(1), NO_TOKEN)


def _draw_truncated(logits_RV: torch.Tensor, choice: Choice) -> torch.Tensor:
    """All three of min_p, top_k and top_p keep a head of the row's order, so what is searched is its last token.

    A row needs only as many candidates as it keeps: few are tried first, then more. It does not change the result.
    """
    num_rows, vocab_size = logits_RV.shape
    weights_RV = (logits_RV / choice.temperature_R.unsqueeze(1)).softmax(-1)
    last_R = torch.empty(num_rows, dtype=torch.int64, device=logits_RV.device)
    open_R = torch.arange(num_rows, device=logits_RV.device)
    few = int(choice.top_k_R.max()) if bool((choice.top_k_R > 0).all()) else _FEW
    for width in (min(few, _FEW), _MANY, vocab_size):
        width = min(width, vocab_size)
        ids_RK = top_candidates(logits_RV[open_R], width)
        weights_RK = weights_RV[open_R].gather(1, ids_RK)
        place_R, settled_R = _last_kept(weights_RK, choice.of(open_R), width == vocab_size)
        last_R[open_R] = ids_RK.gather(1, place_R.unsqueeze(1)).squeeze(1)
        open_R = open_R[~settled_R]
        if not len(open_R):
            break
    last_R1 = last_R.unsqueeze(1)
    cut_R1 = logits_RV.gather(1, last_R1)
    ids_V = torch.arange(vocab_size, device=logits_RV.device)
    kept_RV = (logits_RV > cut_R1) | ((logits_RV == cut_R1) & (ids_V <= last_R1))
    return _pick(weights_RV.mul_(kept_RV), choice.uniform_R)


def _last_kept(weights_RK: torch.Tensor, choice: Choice, is_whole: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(place of the last candidate that is kept, whether the candidates sufficed to know), per row."""
    width = weights_RK.shape[1]
    has_top_k, has_min_p = choice.top_k_R > 0, choice.min_p_R > 0
    places_K = torch.arange(width, device=weights_RK.device)
    cut_R1 = torch.where(has_top_k, choice.top_k_R, width).unsqueeze(1)
    floor_R1 = (weights_RK[:, 0] * choice.min_p_R).unsqueeze(1)
    keep_RK = (places_K < cut_R1) & (weights_RK >= floor_R1)
    cdf_RK = weights_RK.double().mul_(keep_RK).cumsum_(-1)
    kept_R1 = cdf_RK[:, -1:]
    # top_p is a share of what min_p and top_k have kept; without them that is the softmax's sum, 1.
    whole_R1 = torch.where((has_top_k | has_min_p).unsqueeze(1), kept_R1, 1.0)
    limit_R1 = choice.top_p_R.unsqueeze(1) * whole_R1
    last_kept_R1 = (keep_RK.sum(-1, keepdim=True) - 1).clamp_(min=0)
    place_R = torch.minimum(torch.searchsorted(cdf_RK, limit_R1), last_kept_R1).squeeze(1)
    if is_whole:
        return place_R, torch.ones_like(has_top_k)
    head_is_cut = ~keep_RK[:, -1] | (choice.top_k_R == width)
    reached = ~has_top_k & ~has_min_p & (kept_R1 >= limit_R1).squeeze(1)
    return place_R, head_is_cut | reached | ~(kept_R1 > 0).squeeze(1)
