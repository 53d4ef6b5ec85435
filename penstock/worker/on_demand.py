"""Decode steps of few rows are recorded when their size has come often, and replayed from then on.

For devices where a row more costs what a row costs, so that a graph is for its very size; and where recording is quick.
"""

from __future__ import annotations

import torch

from penstock.attention.base import AttentionBackend
from penstock.attention.context import AttentionStep
from penstock.observability.logging import get_logger
from penstock.platforms.base import Device
from penstock.worker.forward import EagerForward, Forward, RunModel
from penstock.worker.graphs import Buffers, DecodeGraphs, GraphLimits, why_not

OFTEN = 16  # steps; recording takes about one more, and each replay saves a twentieth or so

logger = get_logger(__name__)


class OnDemandForward(Forward):
    """Replays what is recorded, and calls the model for the rest.

    Args:
        model: loaded.
        backend: allocated.
        hidden_size: of the model.
    """

    def __init__(
        self, model: RunModel, backend: AttentionBackend, device: Device, hidden_size: int, limits: GraphLimits
    ):
        self._eager = EagerForward(model, backend)
        self._device = device
        buffers = Buffers(limits, hidden_size, backend)
        self._graphs = DecodeGraphs(model, backend, device, buffers, limits.max_context)
        self._steps_left = dict.fromkeys(limits.decode_sizes if backend.pads else (), OFTEN)

    def run(
        self,
        token_ids_T: torch.Tensor,
        step: AttentionStep,
        wanted_S: torch.Tensor | None = None,
        segments_T: torch.Tensor | None = None,
    ) -> torch.Tensor:
        size = token_ids_T.shape[0]
        if segments_T is not None or not self._has_graph(size, step):
            return self._eager.run(token_ids_T, step, wanted_S, segments_T)
        hidden_TH = self._graphs.replay(size, token_ids_T, step)
        return hidden_TH if wanted_S is None else hidden_TH[wanted_S]

    def describe(self) -> dict[str, int]:
        return {"graphs": len(self._graphs)}

    def _has_graph(self, size: int, step: AttentionStep) -> bool:
        """Whether there is one for this step, which is recorded now if it is time."""
        if not self._graphs.takes(step):
            return False
        if left := self._steps_left.get(size, 0):
            self._steps_left[size] = left - 1
            if left == 1:
                self._record(size)
        return size in self._graphs

    def _record(self, size: int) -> None:
        try:
            self._graphs.record(size)
        except Exception as e:  # boundary: what cannot be recorded can still be run
            logger.warning("No more decode steps are recorded; they run without: %s.", why_not(e, self._device))
            self._steps_left.clear()
