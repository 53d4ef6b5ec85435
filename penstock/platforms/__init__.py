"""Kinds of machines, by name."""

from __future__ import annotations

from penstock.platforms.base import Platform
from penstock.plugins import Registry

PLATFORMS = Registry("device", {"cpu": "penstock.platforms.cpu:CpuPlatform"})


def current(name: str = "auto") -> Platform:
    """The platform of that name; "auto" is the best one here.

    Raises:
        StartError: there is no platform of that name.
    """
    kind: type[Platform] = PLATFORMS.get("cpu" if name == "auto" else name)
    return kind()
