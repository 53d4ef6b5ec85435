"""Forward: a step's inputs in, hidden states out. The runner sees no more of how a model is run.

`EagerForward` calls the model; what replays recorded steps on a device stands in its place, and falls back to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from penstock.attention.base import AttentionBackend
from penstock.attention.context import AttentionStep

RunModel = Callable[..., torch.Tensor]  # `Model.forward`, or what a compiler made of it


class Forward(ABC):
    """Runs steps in order."""

    @abstractmethod
    def run(
        self,
        token_ids_T: torch.Tensor,
        step: AttentionStep,
        wanted_S: torch.Tensor | None = None,
        segments_T: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run the tokens, storing their keys and values on the way.

        Args:
            token_ids_T: int64, row after row as in `step`.
            wanted_S: int64, the tokens whose results are wanted; None for all.
            segments_T: int64, the segment of each token of an encoder; None if all are of the first.

        Returns:
            hidden_SH of the wanted ones. It may be overwritten by the next call.
        """

    def idle(self) -> bool:
        """Do some of what makes later steps faster, while there is nothing to run; whether more of it is left."""
        return False

    def describe(self) -> dict[str, int]:
        """How far that is, for a report."""
        return {}


class EagerForward(Forward):
    """Calls the model, layer by layer.

    Args:
        model: loaded, or its compiled forward method.
        backend: allocated.
    """

    def __init__(self, model: RunModel, backend: AttentionBackend):
        self._model = model
        self._backend = backend

    def run(
        self,
        token_ids_T: torch.Tensor,
        step: AttentionStep,
        wanted_S: torch.Tensor | None = None,
        segments_T: torch.Tensor | None = None,
    ) -> torch.Tensor:
        attention = self._backend.bind(step)
        if segments_T is None:
            return self._model(token_ids_T, step.positions_T, attention, wanted_S)
        return self._model(token_ids_T, step.positions_T, attention, wanted_S, segments_T)
