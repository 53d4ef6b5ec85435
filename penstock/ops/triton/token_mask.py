"""Packed masks of allowed tokens over logits, as `ops/token_mask.py` tells."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 4096


@triton.jit
def mask_kernel(logits, rows, masks, width, words, row_stride, block: tl.constexpr):
    """One row. A second pass, over the row again, only where nothing that is allowed is left."""
    place = tl.program_id(0)
    start = logits + tl.load(rows + place) * row_stride
    mask = masks + place.to(tl.int64) * words
    best = tl.full((block,), float("-inf"), tl.float32)
    unordered = tl.zeros((block,), tl.int32)
    for first in range(0, width, block):
        token = first + tl.arange(0, block)
        inside = token < width
        allowed = ((tl.load(mask + token // 32, inside, other=0) >> (token % 32)) & 1) != 0
        values = tl.load(start + token, inside & allowed, other=float("-inf"))
        tl.store(start + token, values, inside)
        best = tl.maximum(best, values)
        unordered |= (values != values).to(tl.int32)
    if (tl.max(best, 0) == float("-inf")) & (tl.max(unordered, 0) == 0):
        for first in range(0, width, block):
            token = first + tl.arange(0, block)
            inside = token < width
            allowed = ((tl.load(mask + token // 32, inside, other=0) >> (token % 32)) & 1) != 0
            tl.store(start + token, tl.where(allowed, 0.0, float("-inf")), inside)


def apply_token_mask(logits_SV: torch.Tensor, rows_R: torch.Tensor, masks_RW: torch.Tensor) -> None:
    """Change `logits_SV` in place; `rows_R` int64 and `masks_RW` int32 lie where it does."""
    if rows_R.numel():
        width, words = logits_SV.shape[1], masks_RW.shape[1]
        grid = (rows_R.numel(),)
        mask_kernel[grid](logits_SV, rows_R, masks_RW, width, words, logits_SV.stride(0), _BLOCK, num_warps=8)
