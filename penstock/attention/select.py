"""Picks the attention backend: by name, or the first that can serve a model here."""

from __future__ import annotations

import torch

from penstock.attention.base import AttentionBackend, AttentionSpec, HeadLayout
from penstock.attention.measured import order_for
from penstock.config.shape import ModelShape
from penstock.errors import StartError
from penstock.observability.logging import get_logger
from penstock.plugins import Registry

logger = get_logger(__name__)

BACKENDS = Registry(
    "attention backend",
    {
        "packed": "penstock.attention.packed:PackedAttention",
        "torch_paged": "penstock.attention.torch_paged:TorchPagedAttention",
        "triton": "penstock.attention.triton_paged:TritonPagedAttention",
        "varlen": "penstock.attention.varlen:VarlenAttention",
        "flashinfer": "penstock.attention.flashinfer:FlashInferAttention",
    },
)
# What other names stand for, in the order of trying.
CANDIDATES = {
    "FLASH_ATTN": ("varlen",),
    "FLASHINFER": ("flashinfer",),
    "TRITON_ATTN": ("triton",),
    "TORCH_SDPA": ("packed", "torch_paged"),
    "CPU_ATTN": ("packed", "torch_paged"),
}


def candidates(name: str, device_name: str) -> tuple[str, ...]:
    """Entries of BACKENDS to try for a name. That packed is the fastest on CPUs was measured."""
    if name == "auto":
        return ("packed", *order_for(device_name), "torch_paged")
    return CANDIDATES.get(name, (name,))


def create_backend(
    name: str,
    shape: ModelShape,
    block_size: int,
    dtype: torch.dtype,
    device: torch.device,
    kv_dtype: str | None = None,
    batch_invariant: bool = False,
    device_name: str = "",
) -> AttentionBackend:
    """The backend for a model, and a log line that says why it is this one.

    Args:
        name: "auto", or one of BACKENDS or CANDIDATES.
        kv_dtype: type of keys and values in memory, see `AttentionSpec`; None for the type of the model.
        device_name: as its maker calls it.

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
    spec = AttentionSpec(layout, block_size, dtype, device, kv_dtype, batch_invariant)
    refusals: list[str] = []
    for candidate in candidates(name, device_name):
        kind: type[AttentionBackend] = BACKENDS.get(candidate)
        refusal = kind.refusal(spec)
        if refusal is None:
            logger.info("Attention by %s%s.", candidate, "".join(f"; not {r}" for r in refusals))
            return kind(spec)
        refusals.append(f"{candidate}: {refusal}")
    raise StartError(f"--attention-backend {name}: " + "; ".join(refusals))
