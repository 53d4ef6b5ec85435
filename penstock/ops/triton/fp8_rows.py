"""Rows as 8-bit floating point numbers with a scale for each, as `quantize_fp8` of `ops/fp8_matrix.py` tells."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 2048


@triton.jit
def fp8_rows_kernel(x, numbers, scales, width, row_stride, block: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    most = tl.zeros((block,), tl.float32)
    for first in tl.range(0, width, block, num_stages=2):
        column = first + tl.arange(0, block)
        most = tl.maximum(
            most, tl.abs(tl.load(x + row * row_stride + column, column < width, other=0.0).to(tl.float32))
        )
    scale = tl.maximum(tl.max(most, 0) / 448.0, 1e-30)
    for first in tl.range(0, width, block, num_stages=2):
        column = first + tl.arange(0, block)
        inside = column < width
        value = tl.load(x + row * row_stride + column, inside, other=0.0).to(tl.float32) / scale
        value = tl.minimum(tl.maximum(value, -448.0), 448.0)
        tl.store(numbers + row * width + column, value.to(numbers.dtype.element_ty), inside)
    tl.store(scales + row, scale)


def fp8_rows(x_TK: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(float8_e4m3fn [T, K], float32 scales [T, 1])."""
    rows, width = x_TK.shape
    if x_TK.stride(1) != 1:
        x_TK = x_TK.contiguous()
    numbers_TK = torch.empty(rows, width, dtype=torch.float8_e4m3fn, device=x_TK.device)
    scales_T1 = torch.empty(rows, 1, dtype=torch.float32, device=x_TK.device)
    if rows:
        fp8_rows_kernel[(rows,)](x_TK, numbers_TK, scales_T1, width, x_TK.stride(0), _BLOCK)
    return numbers_TK, scales_T1
