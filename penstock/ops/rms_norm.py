"""Root-mean-square norm over the last dimension, computed in float32 (https://arxiv.org/abs/1910.07467).

A row's bits do not depend on the others.
"""

from __future__ import annotations

import torch

from penstock.ops import kernels
from penstock.ops import triton as triton_ops
from penstock.ops.rows import CACHE_ELEMENTS, row_chunks

WIDEST = 1 << 15  # torch cuts the sum of a single row of this width or more among threads, which changes its bits


def rms_norm(x_TH: torch.Tensor, weight_H: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, [..., H] of x's type."""
    if kernels.native is None or not x_TH.is_cpu:
        return _elsewhere(x_TH, None, weight_H, eps)
    x_TH = x_TH.contiguous()
    out_TH = torch.empty_like(x_TH)
    _kernel(x_TH, 0, weight_H, out_TH, eps)
    return out_TH


def add_rms_norm(x_TH: torch.Tensor, residual_TH: torch.Tensor, weight_H: torch.Tensor, eps: float) -> torch.Tensor:
    """The norm of x + residual; `residual_TH` (contiguous) becomes that sum, which is rounded before it is normed."""
    assert residual_TH.is_contiguous()
    if kernels.native is None or not x_TH.is_cpu:
        return _elsewhere(x_TH, residual_TH, weight_H, eps)
    x_TH = x_TH.contiguous()
    out_TH = torch.empty_like(x_TH)
    _kernel(x_TH, residual_TH.data_ptr(), weight_H, out_TH, eps)
    return out_TH


def _elsewhere(
    x_TH: torch.Tensor, residual_TH: torch.Tensor | None, weight_H: torch.Tensor, eps: float
) -> torch.Tensor:
    """By Triton's kernel, or in torch."""
    if triton_ops.wanted(x_TH):
        kernel = triton_ops.load("penstock.ops.triton.rms_norm:rms_norm")
        normed_TH: torch.Tensor = kernel(x_TH, residual_TH, weight_H, eps)
        return normed_TH
    if residual_TH is None:
        return rms_norm_twin(x_TH, weight_H, eps)
    return add_rms_norm_twin(x_TH, residual_TH, weight_H, eps)


def _kernel(x_TH: torch.Tensor, residual: int, weight_H: torch.Tensor, out_TH: torch.Tensor, eps: float) -> None:
    assert x_TH.dtype is weight_H.dtype
    width = weight_H.shape[0]
    kernels.native.rms_norm(
        kernels.TYPE_CODES[x_TH.dtype],
        x_TH.data_ptr(),
        residual,
        weight_H.data_ptr(),
        out_TH.data_ptr(),
        x_TH.numel() // width,
        width,
        eps,
    )


def rms_norm_twin(x_TH: torch.Tensor, weight_H: torch.Tensor, eps: float) -> torch.Tensor:
    """The same in plain torch."""
    assert x_TH.shape[-1] < WIDEST
    if x_TH.numel() <= CACHE_ELEMENTS:
        return _norm(x_TH, weight_H, eps)
    out_TH = torch.empty(x_TH.shape, dtype=x_TH.dtype, device=x_TH.device)
    for rows in row_chunks(x_TH.shape[0], x_TH[0].numel(), x_TH.device):
        out_TH[rows] = _norm(x_TH[rows], weight_H, eps)
    return out_TH


def add_rms_norm_twin(
    x_TH: torch.Tensor, residual_TH: torch.Tensor, weight_H: torch.Tensor, eps: float
) -> torch.Tensor:
    """The same in plain torch."""
    return rms_norm_twin(residual_TH.add_(x_TH), weight_H, eps)


def _norm(x_RH: torch.Tensor, weight_H: torch.Tensor, eps: float) -> torch.Tensor:
    x = x_RH.float()
    scale = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
    return (x * scale).to(x_RH.dtype) * weight_H
