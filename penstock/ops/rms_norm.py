"""Root-mean-square norm over the last dimension, computed in float32 (https://arxiv.org/abs/1910.07467)."""

from __future__ import annotations

import torch

from penstock.ops.rows import CACHE_ELEMENTS, row_chunks

WIDEST = 1 << 15  # torch cuts the sum of a single row of this width or more among threads, which changes its bits


def rms_norm(x_TH: torch.Tensor, weight_H: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, [..., H] of x's type. A row's bits do not depend on the others."""
    assert x_TH.shape[-1] < WIDEST
    if x_TH.numel() <= CACHE_ELEMENTS:
        return _norm(x_TH, weight_H, eps)
    out_TH = torch.empty(x_TH.shape, dtype=x_TH.dtype, device=x_TH.device)
    for rows in row_chunks(x_TH.shape[0], x_TH[0].numel()):
        out_TH[rows] = _norm(x_TH[rows], weight_H, eps)
    return out_TH


def _norm(x_RH: torch.Tensor, weight_H: torch.Tensor, eps: float) -> torch.Tensor:
    x = x_RH.float()
    scale = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    return (x * scale).to(x_RH.dtype) * weight_H


def add_rms_norm(
    x_TH: torch.Tensor, residual_TH: torch.Tensor, weight_H: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(norm of x + residual, x + residual)."""
    total_TH = x_TH + residual_TH
    return rms_norm(total_TH, weight_H, eps), total_TH
