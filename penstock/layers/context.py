"""BuildContext: everything a model is built with besides its shape."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from penstock.quantization.base import LinearMethod, UnquantizedLinear


@dataclass(frozen=True)
class BuildContext:
    """Where and how a model's layers live.

    Attributes:
        dtype: type of weights and activations.
        device: where the weights lie.
        max_len: longest context that will be asked for, in tokens; sizes the rotary tables.
        linear_method: how products are stored and computed.
        batch_invariant: on a GPU, too, a row's bits must not depend on what shares a product.
    """

    dtype: torch.dtype
    device: torch.device
    max_len: int
    linear_method: LinearMethod = field(default_factory=UnquantizedLinear)
    batch_invariant: bool = False

    def empty(self, *size: int) -> torch.Tensor:
        """An uninitialized tensor of the model's type on its device."""
        return torch.empty(size, dtype=self.dtype, device=self.device)
