"""ParkedWeights: a model's weights in host memory, while the device's is for others.

The tensors stay what they are; the memory behind them is freed and made again. Whatever kept its address (a recorded
graph, say) must be dropped before.
"""

from __future__ import annotations

import torch

from penstock.platforms.base import Device
from penstock.worker.weight_memory import bytes_of, storages_of


class ParkedWeights:
    """Moves weights to host memory as it is made.

    Args:
        device: where they lie.
        holders: models and whatever else holds tensors.
    """

    @torch.inference_mode()
    def __init__(self, device: Device, holders: tuple[object, ...]):
        self._device = device
        device.synchronize()  # layers that are brought from host memory may be on their way
        self._kept: list[tuple[torch.UntypedStorage, torch.Tensor]] = []
        for storage in storages_of(*holders):
            if storage.device.type == device.torch_device.type:
                host = device.host_tensor(storage.nbytes())
                host.copy_(bytes_of(storage), non_blocking=True)
                self._kept.append((storage, host))
        device.synchronize()
        for storage, _ in self._kept:
            storage.resize_(0)

    @torch.inference_mode()
    def restore(self) -> None:
        """Move them back. If that raises, all of them stay in host memory."""
        try:
            for storage, host in self._kept:
                storage.resize_(host.numel())
                bytes_of(storage).copy_(host, non_blocking=True)
        except Exception:  # whatever it is: all of them or none
            self._device.synchronize()
            for storage, _ in self._kept:
                storage.resize_(0)
            raise
        self._device.synchronize()


def describe_sleep(level: int, moved: bool) -> str:
    """What level 1 or 2 did, for the log."""
    if level == 2:
        return "the KV memory and the weights are freed; waking up reads the files again."
    if moved:
        return "the KV memory is freed, the weights are in host memory."
    return "the KV memory is freed. The weights stay: host memory is where they are. Level 2 frees them, too."
