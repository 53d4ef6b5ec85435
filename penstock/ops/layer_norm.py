"""Layer norm over the last dimension, computed in float32 (https://arxiv.org/abs/1607.06450).

A row's bits do not depend on the others: torch sums each row by itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from penstock.ops.rows import row_chunks


def layer_norm(x_TH: torch.Tensor, weight_H: torch.Tensor, bias_H: torch.Tensor | None, eps: float) -> torch.Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias, [T, H] of x's type."""
    if x_TH.dtype is torch.float32:
        return F.layer_norm(x_TH, weight_H.shape, weight_H, bias_H, eps)
    out_TH = torch.empty_like(x_TH)
    weight, bias = weight_H.float(), None if bias_H is None else bias_H.float()
    for rows in row_chunks(x_TH.shape[0], x_TH.shape[1], x_TH.device):
        out_TH[rows] = F.layer_norm(x_TH[rows].float(), weight.shape, weight, bias, eps)
    return out_TH
