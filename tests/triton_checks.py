"""Compiles Triton kernels for GPUs that are not there, in a process of its own, where nothing is interpreted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from servers import ROOT

SHARED_MEMORY = {80: 163 << 10, 89: 99 << 10, 90: 227 << 10}  # bytes that one program may have
REGISTERS = 255  # a thread's most, beyond which values spill


@dataclass(frozen=True)
class Kernel:
    """One specialization to compile.

    Attributes:
        path: "module:name" of a @triton.jit function.
        signature: argument -> type, "*bf16", "i32", "constexpr", ... in order.
        constants: values of the constexpr arguments.
        aligned: arguments, addresses and sizes, that are multiples of 16.
        wants: texts of which each must be in the PTX; a tuple is for alternatives.
    """

    path: str
    signature: dict[str, str]
    constants: dict[str, Any]
    num_warps: int = 4
    num_stages: int = 3
    aligned: tuple[str, ...] = ()
    wants: tuple[str | tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Compiled:
    """What came of it: bytes of shared memory, registers and bytes spilled per thread, and the PTX."""

    capability: int
    shared: int
    registers: int
    spilled: int
    ptx: str


PROGRAM = """
import json, re, subprocess, sys, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from penstock.plugins import load_object

asked = json.load(sys.stdin)
for kernel in asked["kernels"]:
    fn = load_object(kernel["path"])
    names = list(kernel["signature"])
    constants = {(names.index(n),): v for n, v in kernel["constants"].items()}
    attrs = {(names.index(n),): [["tt.divisibility", 16]] for n in kernel["aligned"]}
    for capability in asked["capabilities"]:
        source = ASTSource(fn, kernel["signature"], constants, attrs)
        options = {"num_warps": kernel["num_warps"], "num_stages": kernel["num_stages"]}
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(made.asm["cubin"])
            file.flush()
            tool = triton.knobs.nvidia.cuobjdump.path
            usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True).stdout
        found = {k: int(v) for k, v in re.findall(r"(REG|LOCAL|STACK):(\\d+)", usage)}
        print(json.dumps({
            "capability": capability, "shared": made.metadata.shared, "registers": found["REG"],
            "spilled": found["LOCAL"] + found["STACK"], "ptx": made.asm["ptx"],
        }))
"""


def compile_all(kernels: list[Kernel], capabilities: tuple[int, ...] = (80, 90)) -> list[tuple[Kernel, Compiled]]:
    """Each kernel for each compute capability, 80 for 8.0."""
    environment = {n: v for n, v in os.environ.items() if n not in ("TRITON_INTERPRET", "PENSTOCK_TRITON")}
    environment["PYTHONPATH"] = str(ROOT)
    asked = json.dumps({"kernels": [vars(k) for k in kernels], "capabilities": capabilities})
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=asked, env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr[-4000:]
    made = [Compiled(**json.loads(line)) for line in run.stdout.splitlines()]
    return [(kernels[i // len(capabilities)], one) for i, one in enumerate(made)]


def check_compiled(kernels: list[Kernel], capabilities: tuple[int, ...] = (80, 90)) -> None:
    """They compile, fit a multiprocessor, spill nothing and hold the instructions that they should."""
    for kernel, made in compile_all(kernels, capabilities):
        what = f"{kernel.path} {kernel.constants} for {made.capability}"
        assert made.shared <= SHARED_MEMORY[made.capability], f"{what}: {made.shared} bytes of shared memory"
        assert made.registers <= REGISTERS, what
        assert made.spilled == 0, f"{what} spills {made.spilled} bytes"
        for text in kernel.wants:
            texts = (text,) if isinstance(text, str) else text
            assert any(t in made.ptx for t in texts), f"{what} has none of {texts}"
