"""Weights of a model's last layers in host memory, brought to the device layer by layer while others compute.

Two places on the device take turns: while a layer computes from one, the next one's weights come into the other on a
side stream. Tensors view their place and never move, and layers know nothing of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from penstock.layers.module import Module
from penstock.platforms.base import Device
from penstock.worker.weight_memory import bytes_of, storages_of, tensors_of

PLACES = 2
ALIGNMENT = 256


class OffloadedLayers:
    """Moves layers out as it is made.

    Args:
        device: where they compute, and lie until now.
        layers: of a model, loaded, in the order in which they run; the last ones are replaced.
        num_bytes: so much less is taken on the device, as far as there are layers.

    Attributes:
        count: layers that were moved.
        saved: bytes.
    """

    @torch.inference_mode()
    def __init__(self, device: Device, layers: nn.ModuleList, num_bytes: int):
        self._device = device
        sizes = [sum(_aligned(storage.nbytes()) for storage in storages_of(layer)) for layer in layers]
        place_bytes = max(sizes)
        first, self.saved = len(layers), -PLACES * place_bytes
        while first and self.saved < num_bytes:
            first -= 1
            self.saved += sizes[first]
        self.count = len(layers) - first
        self._places = [self._place(place_bytes) for _ in range(PLACES)]
        self._arrived = [device.event() for _ in self._places]
        self._used = [device.event() for _ in self._places]
        self._hosts = [self._move(layer, i % PLACES) for i, layer in enumerate(layers[first:])]
        for i in range(self.count):
            layers[first + i] = Offloaded(layers[first + i], self, i)
        for i, used in enumerate(self._used[: self.count]):
            used.record()
            self._bring(i)
        device.synchronize()
        device.give_back()

    def before(self, index: int) -> None:
        """What is issued next computes a layer: let it wait for the weights."""
        self._arrived[index % PLACES].hold()

    def after(self, index: int) -> None:
        """It has been issued: its place is for the layer that comes after the next one, or from the beginning."""
        self._used[index % PLACES].record()
        following = index + PLACES if index + PLACES < self.count else index % PLACES
        if following != index:
            self._bring(following)

    def _bring(self, index: int) -> None:
        place, host = index % PLACES, self._hosts[index]
        with self._device.stream():
            self._used[place].hold()
            self._places[place][: host.numel()].copy_(host, non_blocking=True)
            self._arrived[place].record()

    def _place(self, num_bytes: int) -> torch.Tensor:
        return torch.empty(num_bytes, dtype=torch.uint8, device=self._device.torch_device)

    def _move(self, layer: nn.Module, place: int) -> torch.Tensor:
        """Copy a layer's memory to the host, and let its tensors view their place."""
        storages = storages_of(layer)
        host: torch.Tensor = self._device.host_tensor(sum(_aligned(s.nbytes()) for s in storages))
        starts: dict[int, int] = {}
        end = 0
        for storage in storages:
            starts[storage.data_ptr()] = end
            host[end : end + storage.nbytes()].copy_(bytes_of(storage))
            end += _aligned(storage.nbytes())
        memory = self._places[place].untyped_storage()
        for tensor in list(tensors_of(layer)):
            if tensor.numel():
                start = starts[tensor.untyped_storage().data_ptr()] // tensor.itemsize
                tensor.set_(memory, start + tensor.storage_offset(), tensor.size(), tensor.stride())
        return host


class Offloaded(Module):
    """A layer, called as ever."""

    def __init__(self, layer: nn.Module, layers: OffloadedLayers, index: int):
        super().__init__()
        self.layer = layer
        self._layers = layers
        self._index = index

    def forward(self, *args: Any) -> Any:
        self._layers.before(self._index)
        result = self.layer(*args)
        self._layers.after(self._index)
        return result


def _aligned(num_bytes: int) -> int:
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT
