"""What a finished model holds, by checkpoint name, whatever layout its matrices are kept in."""

from __future__ import annotations

import torch

from penstock.layers.linear import Linear
from penstock.loading.mapping import Fed
from penstock.models.interface import Model


def loaded_weights(model: Model) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for module in model.modules():
        if isinstance(module, Fed):
            found |= {name: slot for name, slot in module.slots().items() if isinstance(slot, torch.Tensor)}
        if isinstance(module, Linear):
            parts = module.rows(torch.arange(module.out_features)).split(list(module.shards.values()))
            found |= {f"{name}.weight": part for name, part in zip(module.shards, parts, strict=True)}
    return found
