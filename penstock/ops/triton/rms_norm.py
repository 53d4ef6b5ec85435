"""RMSNorm and RMSNorm of a sum, as `ops/rms_norm.py` tells. How a row is summed depends on its width alone."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

# Dimensions in tensor names: T tokens, N heads, H features.
_AT_ONCE = 1024  # numbers that a program handles at least: short rows, heads, share one


@triton.jit(do_not_specialize=["rows"])  # the code, and so the bits, must not depend on the number of rows
def norm_kernel(
    x,
    residual,
    weight,
    out,
    rows,
    heads,
    token_stride,
    head_stride,
    eps,
    width,
    adds: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_width: tl.constexpr,
):
    """Rows are heads of tokens in `x`, and contiguous in `residual` and `out`."""
    row = tl.program_id(0) * tile_rows + tl.arange(0, tile_rows)
    column = tl.arange(0, tile_width)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    start = (row // heads).to(tl.int64) * token_stride + (row % heads) * head_stride
    values = tl.load(x + start[:, None] + column[None, :], inside, other=0.0)
    places = row.to(tl.int64)[:, None] * width + column[None, :]
    if adds:
        values = (values.to(tl.float32) + tl.load(residual + places, inside, other=0.0).to(tl.float32)).to(values.dtype)
        tl.store(residual + places, values, inside)
    numbers = values.to(tl.float32)
    scale = tl.rsqrt(tl.sum(numbers * numbers, 1) / width + eps)
    normed = (numbers * scale[:, None]).to(values.dtype).to(tl.float32)
    weights = tl.load(weight + column, column < width, other=0.0).to(tl.float32)
    tl.store(out + places, (normed * weights[None, :]).to(values.dtype), inside)


def rms_norm(x_TH: torch.Tensor, residual_TH: torch.Tensor | None, weight_H: torch.Tensor, eps: float) -> torch.Tensor:
    """[..., H] of x's type; x may be a slice of a wider tensor. A residual becomes its sum with x."""
    width = weight_H.shape[0]
    out_TH = torch.empty(x_TH.shape, dtype=x_TH.dtype, device=x_TH.device)
    if not out_TH.numel():
        return out_TH
    if x_TH.dim() > 3 or x_TH.stride(-1) != 1:
        x_TH = x_TH.contiguous().view(-1, width)
    heads, head_stride = (x_TH.shape[1], x_TH.stride(1)) if x_TH.dim() == 3 else (1, 0)
    rows = out_TH.numel() // width
    tile_width = triton.next_power_of_2(width)
    tile_rows = max(1, _AT_ONCE // tile_width)
    norm_kernel[(triton.cdiv(rows, tile_rows),)](
        x_TH,
        x_TH if residual_TH is None else residual_TH,
        weight_H,
        out_TH,
        rows,
        heads,
        x_TH.stride(0) if x_TH.dim() > 1 else 0,
        head_stride,
        eps,
        width,
        residual_TH is not None,
        tile_rows,
        tile_width,
        num_warps=min(16, max(4, tile_width // 512)),
    )
    return out_TH
