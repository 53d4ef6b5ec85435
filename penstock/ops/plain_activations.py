"""Activations that look at one number at a time, computed in float32, with the same bits wherever a number stands.

Written with exp, erf and tanh: torch's own gelu, silu and sigmoid round differently in the last elements of a call.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from penstock.ops.rows import row_chunks


def gelu(x_TI: torch.Tensor) -> torch.Tensor:
    """x * Phi(x) with the normal distribution's Phi (https://arxiv.org/abs/1606.08415)."""
    return _by_rows(x_TI, lambda x: torch.mul(x, math.sqrt(0.5)).erf_().add_(1.0).mul_(x).mul_(0.5))


def gelu_tanh(x_TI: torch.Tensor) -> torch.Tensor:
    """The same with Phi approximated by tanh."""

    def activated(x: torch.Tensor) -> torch.Tensor:
        inner = torch.mul(x, x).mul_(0.044715).add_(1.0).mul_(x).mul_(math.sqrt(2.0 / math.pi))
        return inner.tanh_().add_(1.0).mul_(x).mul_(0.5)

    return _by_rows(x_TI, activated)


def silu(x_TI: torch.Tensor) -> torch.Tensor:
    """x / (1 + exp(-x))."""
    return _by_rows(x_TI, lambda x: x / x.neg().exp_().add_(1.0))


def sigmoid(x_TI: torch.Tensor) -> torch.Tensor:
    """1 / (1 + exp(-x))."""
    return _by_rows(x_TI, lambda x: x.neg().exp_().add_(1.0).reciprocal_())


def tanh(x_TI: torch.Tensor) -> torch.Tensor:
    return _by_rows(x_TI, torch.tanh)


def relu(x_TI: torch.Tensor) -> torch.Tensor:
    return x_TI.clamp(min=0.0)


def identity(x_TI: torch.Tensor) -> torch.Tensor:
    return x_TI


def _by_rows(x_TI: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    out_TI = torch.empty_like(x_TI)
    for rows in row_chunks(x_TI.shape[0], x_TI.shape[1], x_TI.device):
        out_TI[rows] = function(x_TI[rows].float())
    return out_TI
