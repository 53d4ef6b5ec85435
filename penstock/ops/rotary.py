"""Rotates pairs of head dimensions by an angle per position (https://arxiv.org/abs/2104.09864), halves paired."""

from __future__ import annotations

import torch

from penstock.ops.rows import row_chunks


def rotate(x_TND: torch.Tensor, cos_TF: torch.Tensor, sin_TF: torch.Tensor) -> torch.Tensor:
    """[T, N heads, D] of x's type; the first 2F dimensions rotate, the others pass.

    Only additions and multiplications in float32, so bits do not depend on how the work is cut.

    Args:
        cos_TF, sin_TF: float32, F angles per token.
    """
    half = cos_TF.shape[-1]
    out_TND = torch.empty(x_TND.shape, dtype=x_TND.dtype, device=x_TND.device)
    for rows in row_chunks(x_TND.shape[0], x_TND[0].numel(), x_TND.device):
        cos, sin = cos_TF[rows].unsqueeze(1), sin_TF[rows].unsqueeze(1)
        first = x_TND[rows, :, :half].float()
        second = x_TND[rows, :, half : 2 * half].float()
        out_TND[rows, :, :half] = first * cos - second * sin
        out_TND[rows, :, half : 2 * half] = second * cos + first * sin
    if 2 * half < x_TND.shape[-1]:
        out_TND[:, :, 2 * half :] = x_TND[:, :, 2 * half :]
    return out_TND
