"""Registries: a name stands for "module:attribute", which is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

from penstock.errors import StartError


def load_object(path: str) -> Any:
    """The object that "package.module:attr" (or "package.module.attr") names.

    Raises:
        StartError: there is no such module or attribute.
    """
    module, _, attr = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attr)
    except (ImportError, AttributeError, ValueError) as e:
        raise StartError(f"cannot import {path!r}: {e}") from e


class Registry:
    """Named things of one kind, imported on use.

    Args:
        kind: what they are, for messages ("model architecture").
        entries: name -> "module:attr".
    """

    def __init__(self, kind: str, entries: dict[str, str]):
        self.kind = kind
        self._entries: dict[str, Any] = dict(entries)

    def names(self) -> list[str]:
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def register(self, name: str, target: str | Any) -> None:
        """Add or replace an entry: an import path, or the object itself."""
        self._entries[name] = target

    def get(self, name: str) -> Any:
        """The object behind `name`.

        Raises:
            StartError: nothing is registered under that name; the message lists the names.
        """
        if name not in self._entries:
            raise StartError(f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}")
        target = self._entries[name]
        return load_object(target) if isinstance(target, str) else target
