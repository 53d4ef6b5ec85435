"""Triton kernels of the ops: which tensors get them, and the one way to load a kernel.

Nothing imports triton before a kernel is loaded, so that an installation without a GPU never does. On the CPU kernels
run only where PENSTOCK_TRITON=interpret asks for Triton's interpreter, which is for tests.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NoReturn

import torch

from penstock import envs
from penstock.platforms.tape import Tape, issuers
from penstock.plugins import load_object


def _refuse(tape: Tape) -> NoReturn:
    raise RuntimeError("Triton's interpreter cannot be recorded")


interpreting: bool = envs.TRITON == "interpret"  # CPU tensors are computed by kernels, too
if interpreting:
    issuers.append(_refuse)


def wanted(x: torch.Tensor) -> bool:
    """Whether an op on this tensor is computed by its Triton kernel."""
    return x.is_cuda or (interpreting and x.is_cpu)


def wanted_on(device: torch.device) -> bool:
    """The same for tensors of this device."""
    return device.type == "cuda" or (interpreting and device.type == "cpu")


@cache
def load(path: str) -> Any:
    """The function that "module:name" names, of a module that imports triton.

    Raises:
        StartError: triton is not installed.
    """
    if interpreting:
        envs.interpret_triton()
    return load_object(path)
