"""Picks the attention backend by name."""

from __future__ import annotations

import torch

from penstock.attention.base import AttentionBackend, HeadLayout
from penstock.config.shape import ModelShape
from penstock.errors import StartError
from penstock.plugins import Registry

BACKENDS = Registry(
    "attention backend",
    {
        "packed": "penstock.attention.packed:PackedAttention",
        "torch_paged": "penstock.attention.torch_paged:TorchPagedAttention",
        "triton": "penstock.attention.triton_paged:TritonPagedAttention",
    },
)
BY_SPEED = ("packed", "triton", "torch_paged")  # packed is for CPUs alone, triton for GPUs


def create_backend(
    name: str,
    shape: ModelShape,
    block_size: int,
    dtype: torch.dtype,
    device: torch.device,
    kv_dtype: str | None = None,
) -> AttentionBackend:
    """The backend for a model; "auto" picks the fastest one that can serve it here.

    Args:
        kv_dtype: type of keys and values in memory, see `AttentionBackend`; None for the type of the model.

    Raises:
        StartError: there is no backend of that name, or none that can.
    """
    layout = HeadLayout(
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        scale=shape.head_dim**-0.5,
        windows=shape.layer_windows or (None,) * shape.num_layers,
        causal=shape.causal,
    )
    assert layout.num_layers == shape.num_layers
    kv_dtype = kv_dtype or str(dtype).removeprefix("torch.")
    refusal = None
    for candidate in BY_SPEED if name == "auto" else (name,):
        kind: type[AttentionBackend] = BACKENDS.get(candidate)
        refusal = kind.refusal(layout, block_size, dtype, device, kv_dtype)
        if refusal is None:
            return kind(layout, block_size, dtype, device, kv_dtype)
    raise StartError(f"{refusal}")
