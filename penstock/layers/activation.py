"""Activations by their name in a ModelShape: gated ones of decoders, plain ones of encoders and heads."""

from __future__ import annotations

from collections.abc import Callable

import torch

from penstock.ops.plain_activations import gelu, gelu_tanh, identity, relu, sigmoid, silu, tanh
from penstock.ops.silu_and_mul import silu_and_mul
from penstock.plugins import Registry

GatedActivation = Callable[[torch.Tensor], torch.Tensor]  # [T, 2I] (gate, up) -> [T, I]
ACTIVATIONS = Registry("activation", {"silu": "penstock.layers.activation:silu_and_mul"})

PlainActivation = Callable[[torch.Tensor], torch.Tensor]  # [T, I] -> [T, I]
PLAIN_ACTIVATIONS = Registry(
    "activation",
    {name: f"penstock.layers.activation:{name}" for name in ("gelu", "gelu_tanh", "relu", "silu", "tanh", "sigmoid")}
    | {"identity": "penstock.layers.activation:identity"},
)

__all__ = [
    "ACTIVATIONS",
    "PLAIN_ACTIVATIONS",
    "GatedActivation",
    "PlainActivation",
    "gelu",
    "gelu_tanh",
    "identity",
    "relu",
    "sigmoid",
    "silu",
    "silu_and_mul",
    "tanh",
]
