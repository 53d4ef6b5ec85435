"""AttentionBackend: paged keys and values of all layers, and attention over them.

A backend owns the KV memory. It knows layers by number, rows by block tables, and nothing of requests or models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from penstock.attention.context import AttentionStep

# Dimensions in tensor names: T running tokens, H query heads, G key/value heads, D head dimension.


@dataclass(frozen=True)
class HeadLayout:
    """Heads of every layer, and what each layer sees.

    Attributes:
        windows: per layer, how many tokens back (itself included) a token sees; None for all. Its length is the
            number of layers.
        scale: factor on the scores before the softmax.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    windows: tuple[int | None, ...]

    @property
    def num_layers(self) -> int:
        return len(self.windows)


class AttentionBackend(ABC):
    """One instance serves all layers of a model.

    Args:
        layout: heads and windows.
        block_size: tokens per KV block.
        dtype: type of queries, keys, values and of the KV memory.
        device: where the KV memory lies.
    """

    def __init__(self, layout: HeadLayout, block_size: int, dtype: torch.dtype, device: torch.device):
        self.layout = layout
        self.block_size = block_size
        self.dtype = dtype
        self.device = device

    def bytes_per_block(self) -> int:
        """Bytes of keys and values that one block takes in all layers."""
        heads = self.layout.num_kv_heads * self.layout.head_dim
        return 2 * self.layout.num_layers * self.block_size * heads * self.dtype.itemsize

    def bind(self, step: AttentionStep) -> BoundAttention:
        """The step's attention, ready to be handed to a model."""
        return BoundAttention(self, self.build(step))

    @abstractmethod
    def allocate(self, num_blocks: int) -> None:
        """Make the KV memory, zeroed: `num_blocks` blocks in every layer, block 0 (never written) included."""

    @abstractmethod
    def build(self, step: AttentionStep) -> Any:
        """Metadata that `write_kv` and `forward` of every layer share in this step."""

    @abstractmethod
    def write_kv(self, layer: int, k_TGD: torch.Tensor, v_TGD: torch.Tensor, meta: Any) -> None:
        """Store the running tokens' keys and values in their slots, all of them before it returns: a row of this step
        may read what another row of it writes."""

    @abstractmethod
    def forward(self, layer: int, q_THD: torch.Tensor, meta: Any) -> torch.Tensor:
        """Causal attention of the running tokens over their rows' contexts, which must have been written.

        Returns:
            [T, H, D] of the queries' type. Each token's bits depend only on its own row up to its position.
        """


@dataclass(frozen=True)
class BoundAttention:
    """A backend and one step's metadata: all that a model's layers see of the KV cache."""

    backend: AttentionBackend
    meta: Any

    def attend(self, layer: int, q_THD: torch.Tensor, k_TGD: torch.Tensor, v_TGD: torch.Tensor) -> torch.Tensor:
        """Store k and v, then attend with q: [T, H, D]."""
        self.backend.write_kv(layer, k_TGD, v_TGD, self.meta)
        return self.backend.forward(layer, q_THD, self.meta)
