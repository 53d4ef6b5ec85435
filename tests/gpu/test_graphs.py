"""Recorded steps over the attention of GPUs: as without recording, with kernels in the interpreter or on a GPU."""

from __future__ import annotations

import random

import pytest
import torch
from worker_cases import BLOCK, VOCAB, CallingDevice, Driver, Request, checkpoint_of, random_model, small_shape

from penstock import platforms
from penstock.attention.select import create_backend
from penstock.layers.context import BuildContext
from penstock.models.interface import Model
from penstock.models.registry import build
from penstock.params import SamplingParams
from penstock.platforms.base import Device
from penstock.worker.forward import EagerForward, Forward
from penstock.worker.graphs import GraphForward, GraphLimits
from penstock.worker.model_runner import ModelRunner

BLOCKS = 60
MAX_CONTEXT = 20
TOLERANCE = 2e-4  # of logprobs: on a GPU products of other heights, and keys cut into other parts, round otherwise
SHAPE = small_shape()


@pytest.fixture
def device(place: torch.device) -> Device:
    return CallingDevice() if place.type == "cpu" else platforms.current(place.type).device()


def model_on(place: torch.device) -> Model:
    """`random_model`'s weights."""
    model = build(SHAPE, BuildContext(dtype=torch.float32, device=place, max_len=SHAPE.max_position))
    source = checkpoint_of(random_model(SHAPE, torch.float32))
    for name, tensor in checkpoint_of(model).items():
        tensor.copy_(source[name])
    for module in model.modules():
        if hasattr(module, "finish_loading"):
            module.finish_loading()
    return model


def driver(model: Model, device: Device, limits: GraphLimits | None) -> tuple[Driver, Forward]:
    """With all graphs recorded."""
    backend = create_backend("triton", SHAPE, BLOCK, torch.float32, device.torch_device)
    backend.allocate(BLOCKS)
    forward: Forward = EagerForward(model, backend)
    if limits is not None:
        forward = GraphForward(model, backend, device, SHAPE.hidden_size, limits)
    runner = ModelRunner(model, backend, VOCAB, device, forward=forward)
    while runner.idle():
        pass
    return Driver(runner, BLOCKS), forward


def requests() -> list[Request]:
    rng = random.Random(2)
    return [
        Request(f"r{i}", [rng.randrange(VOCAB) for _ in range(length)], SamplingParams(temperature=0, logprobs=0), new)
        for i, (length, new) in enumerate([(3, 3), (18, 4)])  # the second one gets longer than MAX_CONTEXT
    ]


def test_steps_give_what_they_give_without_graphs(device: Device) -> None:
    decode, mixed = (1, 2), (8, 32)
    model = model_on(device.torch_device)
    recording, forward = driver(model, device, GraphLimits(decode, mixed, MAX_CONTEXT, reserve_bytes=1 << 30))
    plain, _ = driver(model, device, None)
    assert isinstance(forward, GraphForward)
    assert [len(kind) for kind in forward._kinds] == [len(decode), len(mixed)]
    results = []
    for run in (recording, plain):
        batch = requests()
        run.run_random(batch, random.Random(3), most_at_once=2)
        results.append(batch)
    for got, expected in zip(*results, strict=True):
        assert got.answer == expected.answer
        for one, other in zip(got.logprobs, expected.logprobs, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=TOLERANCE)
