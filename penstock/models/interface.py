"""Model: what the worker asks of any architecture."""

from __future__ import annotations

from abc import abstractmethod

import torch

from penstock.attention.base import BoundAttention
from penstock.layers.module import Module

# Dimensions in tensor names: T running tokens, H hidden size, S rows whose logits are wanted, V vocabulary or labels.


class Model(Module):
    """A model over a ragged batch. Weights are filled by `loading/loader.py`.

    Encoders take segments_T, too: int64, the segment of each token; None if all are of the first.
    """

    @abstractmethod
    def forward(
        self,
        token_ids_T: torch.Tensor,
        positions_T: torch.Tensor,
        attn: BoundAttention,
        wanted_S: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the tokens, storing their keys and values on the way.

        Args:
            token_ids_T, positions_T: int64, row after row as in the step that `attn` is bound to.
            wanted_S: int64, the tokens whose results are wanted; None for all.

        Returns:
            hidden_SH of these after the last norm, in the model's type.
        """

    @abstractmethod
    def logits(self, hidden_SH: torch.Tensor) -> torch.Tensor:
        """The head: float32 [S, V] for some rows of `forward`'s result. Without a head, the rows themselves."""
