"""RMSNorm with a learned weight, and LayerNorm with a weight and a bias."""

from __future__ import annotations

import torch

from penstock.layers.context import BuildContext
from penstock.layers.module import Module
from penstock.ops.layer_norm import layer_norm
from penstock.ops.rms_norm import add_rms_norm, rms_norm


class RMSNorm(Module):
    """Norm over the last dimension. `name` is its checkpoint name without ".weight"."""

    weight: torch.Tensor

    def __init__(self, context: BuildContext, size: int, eps: float, name: str):
        super().__init__()
        self.name = name
        self.eps = eps
        self.register_buffer("weight", context.empty(size))

    def slots(self) -> dict[str, torch.Tensor]:
        return {f"{self.name}.weight": self.weight}

    def forward(self, x_TH: torch.Tensor) -> torch.Tensor:
        return rms_norm(x_TH, self.weight, self.eps)

    def add(self, x_TH: torch.Tensor, residual_TH: torch.Tensor) -> torch.Tensor:
        """The norm of x + residual; `residual_TH` becomes that sum."""
        return add_rms_norm(x_TH, residual_TH, self.weight, self.eps)


class LayerNorm(Module):
    """Norm over the last dimension. `name` is its checkpoint name without ".weight" and ".bias"."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, context: BuildContext, size: int, eps: float, name: str, bias: bool = True):
        super().__init__()
        self.name = name
        self.eps = eps
        self.register_buffer("weight", context.empty(size))
        self.register_buffer("bias", context.empty(size) if bias else None)

    def slots(self) -> dict[str, torch.Tensor]:
        slots = {f"{self.name}.weight": self.weight}
        return slots if self.bias is None else slots | {f"{self.name}.bias": self.bias}

    def forward(self, x_TH: torch.Tensor) -> torch.Tensor:
        return layer_norm(x_TH, self.weight, self.bias, self.eps)
