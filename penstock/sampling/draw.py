"""Draws one token per row from the softmax of its logits, by one uniform number and the inverse of the CDF.

A row's token depends on its own logits, parameters and number only, bit for bit. That rests on softmax over a whole
row (torch computes each row by itself), exact elementwise operations, and running sums in float64, made in sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from penstock.sampling.ranking import top_candidates

# Dimensions in tensor names: R rows, V vocabulary, N blocks of B tokens, K candidates.
_BLOCK = 128
_FEW, _MANY = 64, 1024  # how many candidates are looked at before a row is sorted whole
NO_TOKEN = -1


@dataclass(frozen=True)
class Draw:
    """What a draw needs besides the logits: one entry per row.

    Attributes:
        temperature_R, min_p_R: float32. top_k_R: int64, 0 is off. top_p_R, uniform_R: float64.
    """

    temperature_R: torch.Tensor
    min_p_R: torch.Tensor
    top_k_R: torch.Tensor
    top_p_R: torch.Tensor
    uniform_R: torch.Tensor

    def of(self, rows: torch.Tensor | slice) -> Draw:
        """The same for some of the rows."""
        return Draw(
            self.temperature_R[rows], self.min_p_R[rows], self.top_k_R[rows], self.top_p_R[rows], self.uniform_R[rows]
        )


def draw_plain(logits_RV: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Tokens drawn from the whole vocabulary: int64 [R], NO_TOKEN where a row has no probabilities.

    In two levels, so that the sequential float64 sums are short: which block of tokens, then which token of it.
    """
    weights_RV = (logits_RV / draw.temperature_R.unsqueeze(1)).softmax(-1)
    if bool((draw.min_p_R > 0).any()):
        floor_R1 = (weights_RV.amax(-1) * draw.min_p_R).unsqueeze(1)
        weights_RV = weights_RV.masked_fill_(weights_RV < floor_R1, 0.0)
    num_rows, vocab_size = weights_RV.shape
    if vocab_size % _BLOCK:
        weights_RV = torch.nn.functional.pad(weights_RV, (0, _BLOCK - vocab_size % _BLOCK))
    weights_RNB = weights_RV.view(num_rows, -1, _BLOCK)
    block_cdf_RN = weights_RNB.sum(-1).cumsum(-1, dtype=torch.float64)
    target_R1 = draw.uniform_R.unsqueeze(1) * block_cdf_RN[:, -1:]
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


def draw_truncated(logits_RV: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Tokens drawn after min_p, top_k and top_p, in this order: int64 [R], NO_TOKEN where a row has no probabilities.

    All three keep a head of the row's order (see `ranking`), so a row needs only as many candidates as it keeps:
    few are tried first, then more. How many were tried does not change the result.
    """
    vocab_size = logits_RV.shape[1]
    weights_RV = (logits_RV / draw.temperature_R.unsqueeze(1)).softmax(-1)
    tokens_R = torch.full((logits_RV.shape[0],), NO_TOKEN, device=logits_RV.device)
    open_R = torch.arange(logits_RV.shape[0], device=logits_RV.device)
    few = int(draw.top_k_R.max()) if bool((draw.top_k_R > 0).all()) else _FEW
    for width in (min(few, _FEW), _MANY, vocab_size):
        width = min(width, vocab_size)
        whole = len(open_R) == logits_RV.shape[0]
        ids_RK = top_candidates(logits_RV if whole else logits_RV[open_R], width)
        weights_RK = (weights_RV if whole else weights_RV[open_R]).gather(1, ids_RK)
        place_R, settled_R = _draw_from_head(weights_RK, draw if whole else draw.of(open_R), width == vocab_size)
        picked_R = ids_RK.gather(1, place_R.clamp(min=0).unsqueeze(1)).squeeze(1)
        tokens_R[open_R] = torch.where(place_R >= 0, picked_R, NO_TOKEN)
        open_R = open_R[~settled_R]
        if not len(open_R):
            break
    return tokens_R


def _draw_from_head(weights_RK: torch.Tensor, draw: Draw, is_whole: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(place of the drawn candidate or NO_TOKEN, whether the candidates sufficed), per row."""
    width = weights_RK.shape[1]
    has_top_k, has_min_p = draw.top_k_R > 0, draw.min_p_R > 0
    places_K = torch.arange(width, device=weights_RK.device)
    cut_R1 = torch.where(has_top_k, draw.top_k_R, width).unsqueeze(1)
    floor_R1 = (weights_RK[:, 0] * draw.min_p_R).unsqueeze(1)
    keep_RK = (places_K < cut_R1) & (weights_RK >= floor_R1)
    cdf_RK = weights_RK.double().mul_(keep_RK).cumsum_(-1)
    kept_R1 = cdf_RK[:, -1:]
    # top_p is a share of what min_p and top_k have kept; without them that is the softmax's sum, 1.
    whole_R1 = torch.where((has_top_k | has_min_p).unsqueeze(1), kept_R1, 1.0)
    limit_R1 = draw.top_p_R.unsqueeze(1) * whole_R1
    last_R1 = torch.searchsorted(cdf_RK, limit_R1).clamp_(max=width - 1)
    mass_R1 = cdf_RK.gather(1, last_R1)
    place_R1 = torch.searchsorted(cdf_RK, draw.uniform_R.unsqueeze(1) * mass_R1, right=True).clamp_(max=width - 1)
    place_R = torch.where(mass_R1 > 0, place_R1, NO_TOKEN).squeeze(1)
    if is_whole:
        return place_R, torch.ones_like(has_top_k)
    head_is_cut = ~keep_RK[:, -1] | (draw.top_k_R == width)
    reached = ~has_top_k & ~has_min_p & (kept_R1 >= limit_R1).squeeze(1)
    return place_R, head_is_cut | reached | (mass_R1 <= 0).squeeze(1)
