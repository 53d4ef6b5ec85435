"""Picks the attention backend by name."""

from __future__ import annotations

import torch

from penstock.attention.base import AttentionBackend, HeadLayout
from penstock.config.shape import ModelShape
from penstock.plugins import Registry

BACKENDS = Registry(
    "attention backend",
    {"torch_paged": "penstock.attention.torch_paged:TorchPagedAttention"},
)


def create_backend(
    name: str, shape: ModelShape, block_size: int, dtype: torch.dtype, device: torch.device
) -> AttentionBackend:
    """The backend for a model; "auto" picks the best one for the device.

    Raises:
        StartError: there is no backend of that name.
    """
    layout = HeadLayout(
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        scale=shape.head_dim**-0.5,
        windows=shape.layer_windows or (None,) * shape.num_layers,
    )
    assert layout.num_layers == shape.num_layers
    kind: type[AttentionBackend] = BACKENDS.get("torch_paged" if name == "auto" else name)
    return kind(layout, block_size, dtype, device)
