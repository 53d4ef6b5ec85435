"""Gated activations by their name in a ModelShape."""

from __future__ import annotations

from collections.abc import Callable

import torch

from penstock.ops.silu_and_mul import silu_and_mul
from penstock.plugins import Registry

GatedActivation = Callable[[torch.Tensor], torch.Tensor]  # [T, 2I] (gate, up) -> [T, I]
ACTIVATIONS = Registry("activation", {"silu": "penstock.layers.activation:silu_and_mul"})

__all__ = ["ACTIVATIONS", "GatedActivation", "silu_and_mul"]
