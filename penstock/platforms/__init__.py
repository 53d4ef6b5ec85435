"""Kinds of machines, by name."""

from __future__ import annotations

import logging

from penstock.errors import StartError
from penstock.platforms.base import Platform
from penstock.plugins import Registry

PLATFORMS = Registry(
    "device", {"cpu": "penstock.platforms.cpu:CpuPlatform", "cuda": "penstock.platforms.cuda:CudaPlatform"}
)
BEST_FIRST = ("cuda", "cpu")
OTHERS = ("neuron", "tpu", "xpu", "hpu", "openvino")  # that vLLM has or had

logger = logging.getLogger("penstock.platforms")


def current(name: str = "auto") -> Platform:
    """The platform of that name; "auto" is the best one that can be used here.

    Raises:
        StartError: there is no platform of that name, or it cannot be used here.
    """
    if name == "auto":
        return _best()
    if name not in PLATFORMS:
        known = ", ".join(("auto", *PLATFORMS.names()))
        if name in OTHERS:
            raise StartError(f"--device {name} is not built into this version: it has {known}.")
        raise StartError(f"--device must be one of {known}, not {name}.")
    platform: Platform = PLATFORMS.get(name)()
    refusal = platform.refusal()
    if refusal is not None:
        raise StartError(f"--device {name}: {refusal}.")
    return platform


def _best() -> Platform:
    for name in BEST_FIRST:
        platform: Platform = PLATFORMS.get(name)()
        refusal = platform.refusal()
        if refusal is None:
            return platform
        if platform.seen():
            logger.warning("Not computing on the %s device: %s.", name, refusal)
    raise AssertionError("the CPU can always be used")
