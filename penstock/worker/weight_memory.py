"""Where a model's weights lie: all tensors that its layers hold, and the memory behind them.

Models and layers know nothing of it; what they hold is found by following their attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch


def tensors_of(*roots: object) -> Iterator[torch.Tensor]:
    """Every tensor that is reachable from these through attributes, lists, tuples, mappings and arguments bound to
    functions; each once."""
    seen: set[int] = set()
    left: list[object] = list(roots)
    while left:
        found = left.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, torch.Tensor):
            yield found
        elif isinstance(found, Mapping):
            left += reversed(list(found.values()))
        elif isinstance(found, (list, tuple, set)):
            left += reversed(list(found))
        elif isinstance(found, partial):
            left += reversed([*found.args, *found.keywords.values()])
        elif isinstance(found, torch.nn.Module) or _is_plain_object(found):
            left += reversed(vars(found).values())


def storages_of(*roots: object) -> list[torch.UntypedStorage]:
    """The memory behind their tensors; what several of them share is named once."""
    found: dict[int, torch.UntypedStorage] = {}
    for tensor in tensors_of(*roots):
        storage = tensor.untyped_storage()
        if storage.nbytes():
            found.setdefault(storage.data_ptr(), storage)
    return list(found.values())


def bytes_of(storage: torch.UntypedStorage) -> torch.Tensor:
    """The storage as a uint8 tensor."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage, 0, (storage.nbytes(),), (1,))


def _is_plain_object(found: Any) -> bool:
    return hasattr(found, "__dict__") and not callable(found) and not isinstance(found, ModuleType)
