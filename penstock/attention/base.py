"""AttentionBackend: paged keys and values of all layers, and attention over them.

A backend owns the KV memory. It knows layers by number, rows by block tables, and nothing of requests or models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

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
        causal: a token sees nothing behind itself. Otherwise it sees as far ahead as back, all of a row runs in one
            step, and nothing is kept: all layers write to the same memory.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    windows: tuple[int | None, ...]
    causal: bool = True

    @property
    def num_layers(self) -> int:
        return len(self.windows)

    @property
    def num_kept_layers(self) -> int:
        """Layers with memory of their own."""
        return self.num_layers if self.causal else 1


@dataclass(frozen=True)
class HeadNorms:
    """Root-mean-square norms on each query and key head before rotation.

    Attributes:
        q_weight_D, k_weight_D: their weights.
        eps: added to the mean square.
    """

    q_weight_D: torch.Tensor
    k_weight_D: torch.Tensor
    eps: float


@dataclass(frozen=True)
class AttentionSpec:
    """What a backend is to serve.

    Attributes:
        layout: heads and windows.
        block_size: tokens per KV block.
        dtype: type of queries, keys, values and of the output.
        device: where the KV memory lies.
        kv_dtype: type of the KV memory: bfloat16, float16, float32, fp8_e4m3, fp8_e5m2 or int8.
        batch_invariant: a token's bits must not depend on what else runs in its steps, nor on how its row was cut. A
            backend that always keeps to that takes no notice.
    """

    layout: HeadLayout
    block_size: int
    dtype: torch.dtype
    device: torch.device
    kv_dtype: str
    batch_invariant: bool = False


class AttentionBackend(ABC):
    """One instance serves all layers of a model.

    Attributes:
        needs_lens: it reads the rows' lengths on the device, so that `AttentionStep.lens` spares it a copy.
        pads: it has `build_padded`.
    """

    needs_lens: ClassVar[bool] = False
    pads: ClassVar[bool] = False

    def __init__(self, spec: AttentionSpec):
        self.layout = spec.layout
        self.block_size = spec.block_size
        self.dtype = spec.dtype
        self.device = spec.device
        self.kv_dtype = spec.kv_dtype
        self.batch_invariant = spec.batch_invariant

    @classmethod
    @abstractmethod
    def refusal(cls, spec: AttentionSpec) -> str | None:
        """Why it cannot serve that here, in words; None if it can."""

    def bind(self, step: AttentionStep) -> BoundAttention:
        """The step's attention, ready to be handed to a model."""
        return BoundAttention(self, self.build(step))

    @abstractmethod
    def bytes_per_block(self) -> int:
        """Bytes of keys and values that one block takes in all layers together."""

    @abstractmethod
    def allocate(self, num_blocks: int) -> None:
        """Make the KV memory, zeroed: `num_blocks` blocks in every layer, block 0 (never written) included."""

    def idle(self) -> bool:
        """Use a few milliseconds in which nothing runs; whether more would be of use."""
        return False

    @abstractmethod
    def build(self, step: AttentionStep) -> Any:
        """Metadata that all layers share in this step."""

    def build_padded(self, step: AttentionStep, max_context: int) -> Any:
        """Metadata of a step that a captured graph replays with other lengths: one token in each row.

        Nothing that is launched depends on more than the number of rows, the width of the block tables and
        `max_context`; lengths, tables, slots and positions are read from the step's tensors when it runs, `lens`
        included. Rows beyond the real ones have context length 0, slots in block 0 and finite numbers of no meaning.

        Args:
            max_context: no row's context is ever longer.
        """
        raise NotImplementedError

    def expect(self, step: AttentionStep) -> None:
        """A step is about to run by metadata of `build_padded`, so that `build` does not see it."""
        return

    @abstractmethod
    def attend(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None,
        meta: Any,
    ) -> torch.Tensor:
        """Norm and rotate queries and keys, store keys and values, and attend over the rows' contexts.

        All keys and values are stored before any are read: a row of this step may read what another row of it writes.

        Args:
            qkv_TN: [T, (H + 2 G) D], a token's queries, keys and values; may be overwritten.
            angles: (cos_TF, sin_TF) in float32, see `ops/rotary.py`.

        Returns:
            [T, H D] of the queries' type.
        """


@dataclass(frozen=True)
class BoundAttention:
    """A backend and one step's metadata: all that a model's layers see of the KV cache."""

    backend: AttentionBackend
    meta: Any

    def attend(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None = None,
    ) -> torch.Tensor:
        """See `AttentionBackend.attend`."""
        return self.backend.attend(layer, qkv_TN, angles, norms, self.meta)
