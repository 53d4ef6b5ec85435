"""silu(gate) * up, as `ops/silu_and_mul.py` tells."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 1024


@triton.jit
def silu_and_mul_kernel(x, out, width, row_stride, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    inside = column < width
    gate = tl.load(x + row * row_stride + column, inside, other=0.0).to(tl.float32)
    up = tl.load(x + row * row_stride + width + column, inside, other=0.0)
    silu = gate / (1.0 + tl.exp(-gate))
    tl.store(out + row * width + column, (silu * up.to(tl.float32)).to(up.dtype), inside)


def silu_and_mul(x_T2I: torch.Tensor) -> torch.Tensor:
    """[T, I] of x's type."""
    rows, width = x_T2I.shape[0], x_T2I.shape[1] // 2
    out_TI = x_T2I.new_empty(rows, width)
    if x_T2I.stride(1) != 1:
        x_T2I = x_T2I.contiguous()
    if out_TI.numel():
        grid = (rows, triton.cdiv(width, _BLOCK))
        silu_and_mul_kernel[grid](x_T2I, out_TI, width, x_T2I.stride(0), _BLOCK)
    return out_TI
