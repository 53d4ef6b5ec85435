"""Matches the names in a checkpoint with the slots of a model. Names and shapes only; copies nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from penstock.errors import StartError
from penstock.quantization.slot import Slot

Copy = Callable[[torch.Tensor, torch.Tensor], object]  # over the first one, from the second
LISTED = 20  # names an error spells out
PREFIX = "model."  # some checkpoints were saved from the decoder inside the model and lack it


@runtime_checkable
class Fed(Protocol):
    """A layer that checkpoint tensors feed."""

    def slots(self) -> Mapping[str, torch.Tensor | Slot]:
        """Checkpoint name -> the tensor, or part of a fused one, that it fills, or the slot that takes it."""


@runtime_checkable
class Finished(Protocol):
    """A layer with something to do once it is filled."""

    def finish_loading(self) -> None:
        """Repack, probe, choose kernels."""


@dataclass(frozen=True)
class Slots:
    """What a model wants filled.

    Attributes:
        wanted: checkpoint name -> the tensor, or part of a fused one, that it fills, or the slot that takes it.
        redundant: patterns of names that some checkpoints carry and that the model makes itself.
        renames: regular expressions and what stands in their place in the model's names.
    """

    wanted: dict[str, torch.Tensor | Slot]
    redundant: tuple[str, ...]
    renames: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, model: nn.Module) -> Slots:
        """Collects what the model's layers declare."""
        wanted: dict[str, torch.Tensor | Slot] = {}
        redundant: list[str] = []
        renames: list[tuple[str, str]] = []
        for module in model.modules():
            own = dict(module.slots()) if isinstance(module, Fed) else {}
            assert not own.keys() & wanted.keys(), f"two layers are fed by {own.keys() & wanted.keys()}"
            wanted |= own
            redundant += getattr(module, "redundant_names", ())
            renames += getattr(module, "renames", ())
        return cls(wanted, tuple(redundant), tuple(renames))

    def match(self, names: Iterable[str]) -> dict[str, str]:
        """Checkpoint name -> wanted name, without the redundant ones.

        Raises:
            StartError: names are missing, unexpected or there twice; the message lists them.
        """
        matched: dict[str, str] = {}
        unexpected, twice, seen = [], [], set()
        for name in names:
            target = name if name in self.wanted else self._renamed(name)
            if target in self.wanted:
                twice += [name] if target in seen else []
                seen.add(target)
                matched[name] = target
            elif not any(fnmatchcase(name, pattern) for pattern in self.redundant):
                unexpected.append(name)
        missing = [name for name in self.wanted if name not in seen]
        faults = [("missing", missing), ("unexpected", unexpected), ("there twice", twice)]
        if missing or unexpected or twice:
            what = "; ".join(f"{kind}: {_listed(n)}" for kind, n in faults if n)
            raise StartError(f"the weights do not fit the model. {what}.")
        return matched

    def _renamed(self, name: str) -> str:
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name if self.renames else PREFIX + name

    def fill(self, target: str, source: torch.Tensor, copy: Copy) -> None:
        """Copy one checkpoint tensor into its slot, converting its type.

        Args:
            copy: for slots that are tensors; others copy themselves.

        Raises:
            StartError: its shape or its kind of number does not fit.
        """
        slot = self.wanted[target]
        if slot.shape != source.shape and not slot.numel() == source.numel() == 1:
            raise StartError(
                f"the weights do not fit the model. {target} should be {list(slot.shape)}, is {list(source.shape)}."
            )
        is_exact = slot.dtype.itemsize == 1 or not slot.is_floating_point()  # then no other type will do
        if not is_exact and (not source.is_floating_point() or source.dtype.itemsize == 1):
            raise StartError(f"the weights do not fit the model. {target} is quantized ({source.dtype}), unexpectedly.")
        if is_exact and slot.dtype != source.dtype:
            raise StartError(f"the weights do not fit the model. {target} should be {slot.dtype}, is {source.dtype}.")
        if isinstance(slot, torch.Tensor):
            copy(slot, source)
        else:
            slot.copy_(source)


def _listed(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
