"""Decode steps that are recorded when they have come often give the bits of steps that are not, for any batch."""

from __future__ import annotations

import logging
import random

import pytest
import torch
from worker_cases import BLOCK, CPU, VOCAB, Driver, Request, RunnerFactory, random_requests

from penstock.attention.packed import PackedAttention
from penstock.attention.select import create_backend
from penstock.ops import kernels
from penstock.params import SamplingParams
from penstock.platforms.cpu import CpuDevice
from penstock.worker.graphs import GraphLimits
from penstock.worker.model_runner import ModelRunner
from penstock.worker.on_demand import OnDemandForward

BLOCKS = 400
MAX_CONTEXT = 72
SIZES = (1, 2, 3, 4, 5, 6, 8)

pytestmark = pytest.mark.skipif(kernels.native is None, reason="the C++ kernels were not built")


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=str)
def factory(request: pytest.FixtureRequest) -> RunnerFactory:
    return RunnerFactory(request.param)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.worker.on_demand.OFTEN", 1)


def replaying(factory: RunnerFactory, kv_dtype: str | None = None) -> tuple[Driver, OnDemandForward, PackedAttention]:
    backend = create_backend("packed", factory.shape, BLOCK, factory.dtype, CPU, kv_dtype)
    assert isinstance(backend, PackedAttention)
    backend.allocate(BLOCKS)
    limits = GraphLimits(SIZES, (), MAX_CONTEXT, reserve_bytes=0)
    device = CpuDevice()
    forward = OnDemandForward(factory.model, backend, device, factory.shape.hidden_size, limits)
    return Driver(ModelRunner(factory.model, backend, VOCAB, device, forward=forward), BLOCKS), forward, backend


def eager(factory: RunnerFactory, request: Request, kv_dtype: str | None = None) -> Request:
    backend = create_backend("packed", factory.shape, BLOCK, factory.dtype, CPU, kv_dtype)
    backend.allocate(BLOCKS)
    return Driver(ModelRunner(factory.model, backend, VOCAB, CpuDevice()), BLOCKS).run_alone(request.fresh())


@pytest.mark.parametrize("kv_dtype", [None, "int8"])
def test_the_same_bits_as_without(
    factory: RunnerFactory, kv_dtype: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random batches, chunks and preemptions, an engine that is idle at times; contexts pass MAX_CONTEXT."""
    rng = random.Random(5)
    batch = random_requests(24, rng)
    driver, forward, backend = replaying(factory, kv_dtype=kv_dtype)
    replayed: list[int] = []
    replay, run = forward._graphs.replay, driver.runner.execute
    monkeypatch.setattr(forward._graphs, "replay", lambda size, *args: replayed.append(size) or replay(size, *args))

    def with_idle_time(plan: object) -> object:
        if rng.random() < 0.3:
            backend.idle()
        return run(plan)  # type: ignore[arg-type]

    monkeypatch.setattr(driver.runner, "execute", with_idle_time)
    driver.run_random(batch, rng, most_at_once=9)
    for request in batch:
        assert eager(factory, request, kv_dtype).result == request.result, request.request_id
    assert len(set(replayed)) >= 5
    assert set(replayed) <= set(SIZES)
    assert len(replayed) > 25


def test_a_size_is_recorded_when_it_has_come_often(factory: RunnerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.worker.on_demand.OFTEN", 4)
    driver, forward, _ = replaying(factory)
    request = Request("r", [7, 8, 9], SamplingParams(temperature=0.0), 9)
    counts = []
    while not request.done:
        driver.step([(request, len(request.tokens) - request.computed)])
        counts.append(driver.runner.describe()["graphs"])
    assert counts == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert eager(factory, request).result == request.result
    assert 1 in forward._graphs


def test_idle_time_knows_blocks_that_only_replays_have_seen(factory: RunnerFactory) -> None:
    """It touches the memory of blocks behind those that are in use, which must not be one that a replay has written."""
    driver, _, backend = replaying(factory)
    request = Request("r", [7], SamplingParams(temperature=0.0), 60)
    while not request.done:
        driver.step([(request, len(request.tokens) - request.computed)])
        assert backend._used == max(request.blocks)


def test_what_cannot_be_recorded_runs_without(
    factory: RunnerFactory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("penstock"), "propagate", True)
    driver, forward, _ = replaying(factory)
    model = factory.model

    def looks(*args: torch.Tensor) -> torch.Tensor:
        assert int(args[1].max()) >= 0
        return model(*args)

    monkeypatch.setattr(forward._graphs, "_model", looks)
    request = Request("r", [7, 8, 9], SamplingParams(temperature=0.0), 6)
    assert driver.run_alone(request).result == eager(factory, request).result
    assert len(forward._graphs) == 0
    words = "No more decode steps are recorded; they run without: RuntimeError: what aten::"
    assert words in caplog.text
