"""Fills a model from a checkpoint folder, tensor by tensor; at no time is there a second copy of the model.

Strict: missing and unexpected names are an error that lists them. Layers say what feeds them; it knows no architecture.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import nn

from penstock.errors import StartError
from penstock.loading.mapping import Copy, Finished, Slots
from penstock.loading.sources import WeightFile, weight_files
from penstock.quantization.slot import Slot

LOAD_FORMATS = ("auto", "safetensors", "pt", "dummy")
DUMMY_SPREAD = 0.02  # standard deviation of made-up weights


def load_weights(
    model: nn.Module,
    model_dir: str,
    load_format: str = "auto",
    on_progress: Callable[[float], None] | None = None,
    copy: Copy = torch.Tensor.copy_,
) -> None:
    """Fill every weight of `model` and finish its layers for use.

    Args:
        load_format: "auto" (safetensors, else .bin/.pt), "safetensors", "pt" or "dummy" (made-up weights; the folder
            needs none).
        on_progress: called with the share of weights done, 0..1.
        copy: how a tensor of a file gets over one of the model, see `Device.fill`.

    Raises:
        StartError: there are no weights, or they do not fit the model.
    """
    if load_format not in LOAD_FORMATS:
        raise StartError(f"load_format {load_format!r} is unknown; known: {', '.join(LOAD_FORMATS)}.")
    slots = Slots.of(model)
    with torch.inference_mode():
        if load_format == "dummy":
            _make_up(slots, _device_of(slots))
        else:
            _read(slots, weight_files(model_dir, load_format), on_progress or (lambda share: None), copy)
        for module in model.modules():
            if isinstance(module, Finished):
                module.finish_loading()
    if on_progress:
        on_progress(1.0)


def _read(slots: Slots, files: list[WeightFile], on_progress: Callable[[float], None], copy: Copy) -> None:
    names = [file.names() for file in files]
    matched = slots.match(name for some in names for name in some)
    total = sum(slot.numel() for slot in slots.wanted.values())
    done = 0
    for file, some in zip(files, names, strict=True):
        for name, tensor in file.tensors([n for n in some if n in matched]):
            slots.fill(matched[name], tensor, copy)
            done += tensor.numel()
            on_progress(min(done / total, 0.99))  # 1 is for the finished layers


def _device_of(slots: Slots) -> torch.device:
    """Where the model lies, by its norms if nothing else is a plain tensor."""
    return next((slot.device for slot in slots.wanted.values() if isinstance(slot, torch.Tensor)), torch.device("cpu"))


def _make_up(slots: Slots, device: torch.device) -> None:
    """Random matrices, the same for a name every time; norms of one, biases of zero.

    Args:
        device: where they are made; billions of random numbers take a CPU minutes.
    """
    for name, slot in slots.wanted.items():
        made = slot if isinstance(slot, torch.Tensor) else _empty_like(slot, device)
        generator = torch.Generator(device=made.device).manual_seed(zlib.crc32(name.encode()))
        if not made.is_floating_point():
            limits = torch.iinfo(made.dtype)
            made.random_(limits.min, limits.max, generator=generator)
        elif made.dim() > 1:
            made.normal_(0.0, DUMMY_SPREAD, generator=generator)
        else:
            made.fill_(1.0 if name.endswith(".weight") else 0.0)
        if made is not slot:
            slot.copy_(made.to(slot.dtype))


def _empty_like(slot: Slot, device: torch.device) -> torch.Tensor:
    """Of a type that torch has random numbers of: of 8-bit floating point types it has none."""
    has_none = slot.is_floating_point() and slot.dtype.itemsize == 1
    return torch.empty(slot.shape, dtype=torch.float32 if has_none else slot.dtype, device=device)
