"""Where a kernel runs in a test: in Triton's interpreter on the CPU, or on a GPU, compiled.

The interpreter is for machines without a GPU: Triton reads TRITON_INTERPRET when a kernel's module is imported, so one
process cannot do both.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest
import torch

from penstock.ops import kernels
from penstock.ops import triton as triton_ops

HAS_GPU = torch.cuda.is_available()
if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
PLACES = ["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device for a kernel's tensors; ops given such tensors use their Triton kernels."""
    if not HAS_TRITON:
        pytest.skip("Triton is not installed")
    if request.param == "cuda":
        if not HAS_GPU:
            pytest.skip("there is no GPU that torch.cuda sees")
        yield torch.device("cuda")
        return
    if HAS_GPU:
        pytest.skip("there is a GPU: kernels are compiled for it, not interpreted")
    monkeypatch.setattr(triton_ops, "interpreting", True)
    before = kernels.native.isa() if kernels.native is not None else kernels.TWINS
    kernels.choose(kernels.TWINS)
    yield torch.device("cpu")
    kernels.choose(before)


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16], ids=lambda d: str(d).removeprefix("torch."))
def dtype(request: pytest.FixtureRequest, place: torch.device) -> torch.dtype:
    """A type to compute in. Triton 3.9 interprets a tl.dot of bfloat16 wrongly, so that is for GPUs alone."""
    if request.param is torch.bfloat16 and place.type == "cpu":
        pytest.skip("Triton's interpreter is not right about bfloat16")
    given: torch.dtype = request.param
    return given
