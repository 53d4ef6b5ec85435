"""Weights that leave a device and come back. The device here is host memory, which takes the same way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from worker_cases import Request, RunnerFactory

from penstock.ops import kernels
from penstock.params import SamplingParams
from penstock.platforms.cpu import CpuDevice
from penstock.worker.sleep import ParkedWeights
from penstock.worker.weight_memory import storages_of


@pytest.fixture
def plain_torch() -> Iterator[None]:
    """Weights in memory of torch's, which it can free while they are in use."""
    kernels.choose("torch")
    yield
    kernels.choose()


@pytest.mark.parametrize("architecture", ["Qwen3ForCausalLM", "LlamaForCausalLM"])
def test_parked_weights_leave_nothing_and_come_back(plain_torch: None, architecture: str) -> None:
    factory = RunnerFactory(torch.bfloat16, architecture)
    request = Request("a", list(range(5, 60)), SamplingParams(temperature=0, logprobs=2, max_tokens=6), 6)
    before = factory.driver().run_alone(request.fresh()).result
    storages = storages_of(factory.model)
    sizes = [storage.nbytes() for storage in storages]
    named = sum(tensor.numel() * tensor.itemsize for tensor in factory.model.buffers())
    assert sum(sizes) > named  # matrices, too, which are no buffers
    parked = ParkedWeights(CpuDevice(), (factory.model,))
    assert [storage.nbytes() for storage in storages] == [0] * len(storages)
    parked.restore()
    assert [storage.nbytes() for storage in storages] == sizes
    assert factory.driver().run_alone(request.fresh()).result == before
