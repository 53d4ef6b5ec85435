"""TokensAhead: sampled tokens that the host has not seen yet. They stay on the device and run in the next step.

By slot of the batch: the last token that each request sampled. A step's token ids name them as -1 - slot, and are
looked up on the device, so that no step waits for the host to see what the one before it gave.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from penstock.sampling.history import Int64Array
from penstock.worker.input_batch import InputBatch


@dataclass(frozen=True)
class Sampling:
    """Where the tokens of a step belong.

    Attributes:
        places_S: index of each token in its request.
        tenants_S: who had the slots; a slot that has another one by now gets nothing.
    """

    slots_S: Int64Array
    places_S: Int64Array
    tenants_S: Int64Array


class TokensAhead:
    """
    Args:
        batch: its slots.
        device: where tokens stay.
    """

    def __init__(self, batch: InputBatch, device: torch.device):
        self._batch = batch
        self._last_N = torch.zeros(0, dtype=torch.int64, device=device)  # by slot

    def name(self, ids_T: Int64Array, slots_T: Int64Array, positions_T: Int64Array) -> bool:
        """Write the names of unknown tokens into `ids_T`; whether there are any."""
        unknown_T = positions_T >= self._batch.num_known[slots_T]
        ids_T[unknown_T] = -1 - slots_T[unknown_T]
        return bool(unknown_T.any())

    def look_up(self, ids_T: torch.Tensor) -> torch.Tensor:
        """Ids in which names are replaced by tokens."""
        return torch.where(ids_T < 0, self._last_N[(-1 - ids_T).clamp_(min=0)], ids_T)

    def sampled(self, slots_S: Int64Array, slots_on_device_S: torch.Tensor, tokens_S: torch.Tensor) -> Sampling:
        """A step has sampled: the requests are one token longer. A negative token stands for none, and for a request
        that is about to end."""
        if len(self._last_N) < self._batch.num_slots:
            more = self._batch.num_slots - len(self._last_N)
            self._last_N = torch.cat([self._last_N, self._last_N.new_zeros(more)])
        self._last_N.index_copy_(0, slots_on_device_S, tokens_S.clamp(min=0))
        return Sampling(slots_S, self._batch.lengthen(slots_S), self._batch.tenants[slots_S])

    def seen(self, sampling: Sampling, token_ids_S: Int64Array) -> npt.NDArray[np.bool_]:
        """The host has the tokens of a step: which of its requests are still there."""
        there_S = self._batch.tenants[sampling.slots_S] == sampling.tenants_S
        slots, places = sampling.slots_S[there_S], sampling.places_S[there_S]
        self._batch.tokens[slots, places] = token_ids_S[there_S].clip(0)
        self._batch.num_known[slots] = places + 1
        return there_S
