"""How the KV pool of a device with memory of its own is sized, and what is said when memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from worker_cases import BLOCK, small_shape

from penstock import LLM, platforms
from penstock.config.engine_config import CacheConfig, DeviceConfig, EngineConfig, ModelConfig, SchedulerConfig
from penstock.errors import StartError
from penstock.executor.base import executors
from penstock.ops import kernels
from penstock.params import SamplingParams
from penstock.platforms.cpu import CpuDevice, CpuPlatform
from penstock.scheduler.plan import NewRow, Row, StepPlan
from penstock.worker.capacity import GIB
from penstock.worker.forward import Forward
from penstock.worker.largest_step import largest_step
from penstock.worker.offload import Offloaded, OffloadedLayers
from penstock.worker.weight_memory import tensors_of


class BoxedDevice(CpuDevice):
    """The CPU, which says that its memory is its own, and that each look at it finds 50 MiB less."""

    def __init__(self) -> None:
        super().__init__()
        self.free = 3 * GIB

    @property
    def has_own_memory(self) -> bool:
        return True

    def memory(self) -> tuple[int, int]:
        self.free -= 50 << 20
        return self.free, 4 * GIB


class BoxedPlatform(CpuPlatform):
    name = "boxed"

    def device(self, index: int = 0) -> Any:
        return BoxedDevice()


def config(path: Path, platform: str, **device: int) -> EngineConfig:
    return EngineConfig(
        model=ModelConfig(
            model="small",
            path=str(path),
            tokenizer_path=None,
            served_names=("small",),
            shape=small_shape(),
            dtype="float32",
            max_model_len=100,
            load_format="dummy",
        ),
        cache=CacheConfig(block_size=BLOCK, dtype="float32"),
        scheduler=SchedulerConfig(max_num_seqs=3, max_num_batched_tokens=64),
        device=DeviceConfig(platform=platform, cpu_threads=1, **device),
    )


@pytest.fixture
def boxed() -> Iterator[None]:
    platforms.PLATFORMS.register("boxed", BoxedPlatform)
    yield
    del platforms.PLATFORMS._entries["boxed"]


@pytest.mark.parametrize("in_flight", [1, 2])
def test_the_largest_step_is_tried_out_and_leaves_nothing(boxed: None, tmp_path: Path, in_flight: int) -> None:
    def run(made: Any) -> Any:
        executor = executors.get("uni")(made, in_flight)
        executor.initialize(lambda what, done: None)
        capacity = executor.kv_capacity()
        executor.allocate_kv(20)
        new = NewRow("0", [5, 6, 7], 3, SamplingParams(temperature=0.0, logprobs=1))
        (row,) = executor.execute(StepPlan(1, [], [new], [Row("0", 0, 3, [1], True)])).result().rows
        executor.shutdown()
        return capacity.explanation, row

    words, row = run(config(tmp_path, "boxed"))
    plain_words, plain_row = run(config(tmp_path, "cpu"))
    assert row == plain_row
    assert "of 4.00 GiB (--gpu-memory-utilization)" in words
    assert "50.00 MiB activations of the largest step" in words
    assert "0.00 MiB for graphs" in words
    assert "activations" not in plain_words


@pytest.mark.parametrize(("seqs", "tokens", "length"), [(3, 64, 100), (1, 16, 1000), (7, 7, 9), (4, 4096, 100)])
def test_the_largest_step_is_within_its_limits(seqs: int, tokens: int, length: int) -> None:
    plan = largest_step(seqs, tokens, length, 8)
    assert len(plan.rows) == len(plan.new) == seqs
    assert plan.num_tokens == min(tokens, seqs * length)
    assert max(row.num_tokens for row in plan.rows) <= length
    assert all(len(row.new_block_ids) * 8 >= row.num_tokens for row in plan.rows)


@pytest.mark.parametrize("num_bytes", [1, 1 << 40])
def test_layers_in_host_memory_give_the_same_bits(boxed: None, tmp_path: Path, num_bytes: int) -> None:
    """Weights of torch's, which kernels of ours that keep addresses do not read."""
    kernels.choose("torch")
    try:
        found = []
        for made in (config(tmp_path, "boxed"), config(tmp_path, "boxed", offload_bytes=num_bytes)):
            executor = executors.get("uni")(made)
            executor.initialize(lambda what, done: None)
            executor.allocate_kv(20)
            (layers,) = executor.call(lambda worker: [type(layer) for layer in worker.model.layers])
            rows = []
            new = NewRow("0", [5, 6, 7], 3, SamplingParams(temperature=0.0, logprobs=1))
            for step in range(4):
                computed, count = (0, 3) if step == 0 else (2 + step, 1)
                row = Row("0", computed, count, [1] if step == 0 else [], True)
                rows += executor.execute(StepPlan(step + 1, [], [] if step else [new], [row])).result().rows
            found.append(rows)
            executor.shutdown()
        assert layers[-1] is Offloaded
        assert found[0] == found[1]
    finally:
        kernels.choose()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_every_layer_finds_its_own_weights(count: int) -> None:
    layers = torch.nn.ModuleList(torch.nn.Linear(8, 8, bias=i % 2 == 0) for i in range(count))
    x = torch.randn(3, 8)

    def run() -> torch.Tensor:
        y = x
        with torch.inference_mode():
            for layer in layers:
                y = layer(y)
        return y

    before = run()
    moved = OffloadedLayers(BoxedDevice(), layers, 1 << 40)
    assert moved.count == count
    for _ in range(3):
        assert torch.equal(run(), before)


def test_tensors_that_are_bound_to_functions_are_found() -> None:
    numbers, scales = torch.zeros(4), torch.ones(2)
    layer = torch.nn.Module()
    layer.product = partial(torch.mul, SimpleNamespace(numbers=numbers), other=scales)
    assert [id(t) for t in tensors_of(layer)] == [id(numbers), id(scales)]


def test_a_pool_that_is_too_large_is_said_so() -> None:
    with pytest.raises(StartError, match=r"^Out of memory while \S+ GiB .* the KV cache: .* are free\.") as raised:
        LLM(kv_cache_memory_bytes=1 << 52)
    assert "--kv-cache-memory-bytes" in str(raised.value)


class Cramped(Forward):
    """Finds memory full so many times."""

    def __init__(self, inner: Forward, times: int):
        self._inner = inner
        self._times = times

    def run(self, *args: Any) -> torch.Tensor:
        if self._times:
            self._times -= 1
            raise MemoryError("Tried to allocate 2.00 GiB. More words.")
        return self._inner.run(*args)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_step_without_memory_is_tried_again_or_fails_alone(tmp_path: Path, times: int) -> None:
    executor = executors.get("uni")(config(tmp_path, "cpu"))
    executor.initialize(lambda what, done: None)
    executor.allocate_kv(20)

    def cramp(worker: Any) -> None:
        worker._runner._forward = Cramped(worker._runner._forward, times)

    executor.call(cramp)
    params = SamplingParams(temperature=0.0, logprobs=1)
    new = [NewRow("a", [5, 6, 7], 3, params), NewRow("b", [8, 9], 2, params)]
    rows = [Row("a", 0, 3, [1], True), Row("b", 0, 2, [2], True)]
    first = executor.execute(StepPlan(1, [], new, rows)).result().rows
    if times < 2:
        assert all(len(row.token_ids) == 1 and row.error is None for row in first)
        second = executor.execute(StepPlan(2, [], [], [Row("a", 3, 1, [], True)])).result().rows
    else:
        words = "Out of memory while a step of 5 tokens of 2 requests ran: 2.00 GiB more were asked for;"
        assert all(row.error is not None and row.error.startswith(words) for row in first)
        assert all("--max-num-batched-tokens" in str(row.error) for row in first)
        again = [NewRow("c", [5, 6, 7], 3, params)]
        second = executor.execute(StepPlan(2, ["a", "b"], again, [Row("c", 0, 3, [3], True)])).result().rows
    assert second[0].error is None
    executor.shutdown()
