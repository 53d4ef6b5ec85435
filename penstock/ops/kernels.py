"""The compiled kernels (penstock/csrc), if they were built and are wanted. Each op calls them in its own file.

Kernels take addresses: an op passes contiguous CPU tensors, whose types and shapes it has checked. Where `native` is
None there are none, and the torch twins compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from penstock import envs
from penstock.errors import StartError
from penstock.ops import triton as triton_ops
from penstock.platforms.tape import Tape, issuers

_built: Any
try:
    from penstock.ops import _kernels as _built  # type: ignore[attr-defined,no-redef]
except ImportError:  # installed without a compiler
    _built = None

TYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # as in csrc/types.h
TWINS = "torch"  # the name, beside those of instruction sets, that asks for the torch twins


native: Any = None


def choose(name: str = "auto") -> None:
    """Compute with the kernels for an instruction set, "auto" for the best one here, or "torch" for the twins.

    Raises:
        StartError: the machine or this installation has no kernels of that name.
    """
    global native
    known = [TWINS, *(_built.isas() if _built else [])]
    if name != "auto" and name not in known:
        raise StartError(f"PENSTOCK_CPU_ISA={name} cannot be used here; there are: auto, {', '.join(known)}.")
    native = None if name == TWINS else _built
    if native is not None:
        native.set_isa(known[-1] if name == "auto" else name)


def names() -> list[str]:
    """What `choose` accepts on this machine, "auto" aside; the best last."""
    return [TWINS, *(_built.isas() if _built else [])]


class _Noted:
    """The kernels, while a tape records: it notes the calls of its thread."""

    def __init__(self, kernels: Any, tape: Tape):
        self._kernels, self._tape = kernels, tape

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(self._kernels, name)
        if not self._tape.listens:
            return kernel

        def noted(*args: object) -> Any:
            self._tape.note(kernel, *args)
            return kernel(*args)

        return noted


@contextmanager
def _noted(tape: Tape) -> Iterator[None]:
    global native
    before = native
    native = before and _Noted(before, tape)
    try:
        yield
    finally:
        native = before


def describe() -> str:
    """What computes, for a log line."""
    if native is not None:
        return f"C++ kernels for {native.isa()}"
    return "plain torch, as PENSTOCK_CPU_ISA asks" if _built else "plain torch: the C++ kernels were not built"


def use_threads(count: int, cores: Sequence[Sequence[int]] = ()) -> None:
    """Compute with `count` threads: the kernels' own, and one of torch's for what is left to it. Its threads would spin
    for a while after each of its operations and take the processors that ours need; without kernels it has all.

    Args:
        cores: the processors of one core for each thread, the caller's first. The kernels' own threads keep to a core
            each, where the caller, which is left free, is not. Empty if the system may place them.
    """
    if native is not None:
        native.set_num_threads(count, [list(core) for core in cores])
    torch.set_num_threads(count if native is None else 1)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch have `count` threads while nothing computes that they could disturb: copies from files into new memory
    take half the time with two."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


issuers.append(_noted)
choose(TWINS if triton_ops.interpreting else envs.CPU_ISA)  # a GPU's kernels stand in for the CPU's, not beside them
