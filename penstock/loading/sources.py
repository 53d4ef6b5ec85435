"""Which files of a folder hold the weights, and what tensors are in them. Reads by memory map, copies nothing.

Knows file formats, not models. Pickled formats are read by torch's weights-only loader and no other way.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from penstock.errors import StartError

NOT_WEIGHTS = {"training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt"}


class WeightFile(ABC):
    """One file of tensors."""

    def __init__(self, path: Path):
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Names of its tensors."""

    @abstractmethod
    def tensors(self, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Some of them; each may be a view of the mapped file and is only to be read."""


class SafetensorsFile(WeightFile):
    """https://github.com/huggingface/safetensors"""

    def names(self) -> list[str]:
        with self._open() as f:
            return list(f.keys())

    def tensors(self, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        with self._open() as f:
            for name in names:
                yield name, f.get_tensor(name)

    def _open(self) -> safe_open:
        try:
            return safe_open(self.path, framework="pt", device="cpu")
        except (OSError, SafetensorError) as e:
            raise StartError(f"{self.path} cannot be read: {e}.") from e


class TorchFile(WeightFile):
    """A state dict saved by torch."""

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as e:  # boundary: torch raises anything for a file that is damaged or holds more than tensors
            raise StartError(f"{path} cannot be read as a plain state dict: {e}.") from e
        if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
            raise StartError(f"{path} does not hold a plain state dict.")
        self.state: dict[str, torch.Tensor] = state

    def names(self) -> list[str]:
        return list(self.state)

    def tensors(self, names: list[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for name in names:
            yield name, self.state[name]


def weight_files(model_dir: str, load_format: str) -> list[WeightFile]:
    """The files to read, in order.

    Args:
        load_format: "safetensors", "pt", or "auto" for the first of them that is there.

    Raises:
        StartError: there are none, or an index names one that is missing.
    """
    folder = Path(model_dir)
    if load_format in ("auto", "safetensors"):
        found = _find(folder, "model.safetensors", ("*.safetensors",))
        if found:
            return [SafetensorsFile(p) for p in found]
    if load_format in ("auto", "pt"):
        found = _find(folder, "pytorch_model.bin", ("*.bin", "*.pt", "*.pth"))
        if found:
            return [TorchFile(p) for p in found]
    wanted = {"auto": "*.safetensors, *.bin or *.pt", "pt": "*.bin or *.pt"}.get(load_format, "*.safetensors")
    raise StartError(f"there are no weights ({wanted}) in {model_dir!r}.")


def _find(folder: Path, whole: str, patterns: tuple[str, ...]) -> list[Path]:
    index = folder / f"{whole}.index.json"
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as e:
            raise StartError(f"{index} is not an index of weights: {e!r}.") from e
        missing = [n for n in names if not (folder / n).is_file()]
        if missing:
            raise StartError(f"{index} names files that are missing: {', '.join(missing)}.")
        return [folder / n for n in names]
    if (folder / whole).exists():
        return [folder / whole]
    for pattern in patterns:
        found = sorted(p for p in folder.glob(pattern) if p.name not in NOT_WEIGHTS and p.name[:10] != "rng_state_")
        # The same weights once more in their author's own naming.
        found = [p for p in found if not p.name.startswith("consolidated")]
        if found:
            return found
    return []
