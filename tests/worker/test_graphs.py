"""Steps by recorded graphs give the bits of steps without, for any batch that a scheduler might make.

Here a graph calls its work again, on the same buffers: everything but the recording itself is what a GPU does.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters
from worker_cases import BLOCK, CPU, VOCAB, CallingDevice, Driver, Request, RunnerFactory, random_model, random_requests

from penstock.attention.base import AttentionBackend, AttentionSpec, HeadNorms
from penstock.attention.context import AttentionStep
from penstock.attention.select import create_backend
from penstock.attention.torch_paged import TorchPagedAttention
from penstock.ops import kernels
from penstock.params import SamplingParams
from penstock.platforms.cpu import CpuDevice
from penstock.platforms.cuda import compiled
from penstock.worker.forward import EagerForward
from penstock.worker.graphs import GraphForward, GraphLimits
from penstock.worker.model_runner import ModelRunner

BLOCKS = 400
MAX_CONTEXT = 72
NULL_BLOCK = 0


@dataclass(frozen=True)
class PaddedStep:
    """What `build_padded` was told; its tensors are read when the step runs."""

    step: AttentionStep
    max_context: int


class ReadsLengths(TorchPagedAttention):
    """Attention that can be recorded: it reads lengths where and when a kernel would."""

    pads = True

    def build_padded(self, step: AttentionStep, max_context: int) -> Any:
        return PaddedStep(step, max_context)

    def attend(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None,
        meta: Any,
    ) -> torch.Tensor:
        if not isinstance(meta, PaddedStep):
            return super().attend(layer, qkv_TN, angles, norms, meta)
        padded, out_TN = meta.step, qkv_TN.new_zeros(qkv_TN.shape[0], self.layout.num_heads * self.layout.head_dim)
        assert padded.lens is not None
        contexts = padded.lens.context_lens_R.tolist()
        rows = sum(length > 0 for length in contexts)
        assert max(contexts) <= meta.max_context
        assert not any(contexts[rows:])
        assert not padded.slots_T[rows:].any(), "padding writes to the null block"
        assert padded.lens.query_starts_N.tolist() == list(range(len(contexts) + 1))
        if rows:
            tables, slots, positions = padded.block_tables_RB[:rows], padded.slots_T[:rows], padded.positions_T[:rows]
            real = AttentionStep([1] * rows, contexts[:rows], tables, slots, positions)
            cut = (angles[0][:rows], angles[1][:rows])
            out_TN[:rows] = super().attend(layer, qkv_TN[:rows].clone(), cut, norms, self.build(real))
        return out_TN


@pytest.fixture(scope="module")
def factory() -> RunnerFactory:
    return RunnerFactory(torch.float32)


def recorded(
    factory: RunnerFactory, decode: tuple[int, ...], mixed: tuple[int, ...], backend: AttentionBackend | None = None
) -> tuple[Driver, GraphForward]:
    """A driver whose steps are recorded, all of them before the first step."""
    if backend is None:
        layout = create_backend("torch_paged", factory.shape, BLOCK, factory.dtype, CPU).layout
        backend = ReadsLengths(AttentionSpec(layout, BLOCK, factory.dtype, CPU, "float32"))
    backend.allocate(BLOCKS)
    limits = GraphLimits(decode, mixed, MAX_CONTEXT, reserve_bytes=1)
    forward = GraphForward(factory.model, backend, CallingDevice(), factory.shape.hidden_size, limits)
    runner = ModelRunner(factory.model, backend, VOCAB, CpuDevice(), forward=forward)
    while runner.idle():
        pass
    return Driver(runner, BLOCKS), forward


def without_graphs(factory: RunnerFactory, request: Request) -> Request:
    """A fresh copy of the request, run alone."""
    backend = create_backend("torch_paged", factory.shape, BLOCK, factory.dtype, CPU)
    backend.allocate(BLOCKS)
    return Driver(ModelRunner(factory.model, backend, VOCAB, CpuDevice()), BLOCKS).run_alone(request.fresh())


class Replays:
    """Counts what each kind of graphs replays."""

    def __init__(self, forward: GraphForward, monkeypatch: pytest.MonkeyPatch):
        self.sizes: dict[str, list[tuple[int, int]]] = {}
        for kind in forward._kinds:
            self._watch(kind, self.sizes.setdefault(type(kind).__name__, []), monkeypatch)

    def _watch(self, kind: Any, seen: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
        replay = kind.replay

        def watched(size: int, token_ids_T: torch.Tensor, step: AttentionStep) -> torch.Tensor:
            seen.append((size, token_ids_T.shape[0]))
            return replay(size, token_ids_T, step)

        monkeypatch.setattr(kind, "replay", watched)


@pytest.mark.parametrize(
    ("decode", "mixed"),
    [((1, 2, 4, 8), ()), ((), (4, 16, 32)), ((1, 2, 4, 8), (8, 24)), ((6,), (30,))],
    ids=["decode", "mixed", "both", "one-of-each"],
)
def test_the_same_bits_as_without_graphs(
    factory: RunnerFactory, decode: tuple[int, ...], mixed: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random batches, chunks and preemptions; contexts pass MAX_CONTEXT, batches pass the largest graph."""
    rng = random.Random(f"{decode}{mixed}")
    batch = random_requests(14, rng)
    driver, forward = recorded(factory, decode, mixed)
    replays = Replays(forward, monkeypatch).sizes
    driver.run_random(batch, rng, most_at_once=9)
    for request in batch:
        assert without_graphs(factory, request).result == request.result, request.request_id
    for sizes, kind in ((decode, "DecodeGraphs"), (mixed, "MixedGraphs")):
        used = {size for size, _ in replays[kind]}
        assert used <= set(sizes)
        assert len(used) >= min(2, len(sizes))
        assert not sizes or any(tokens < size for size, tokens in replays[kind]), "nothing was padded"


def test_padding_writes_nowhere(factory: RunnerFactory) -> None:
    """A batch that shrinks: what a row left behind in the buffers must not reach its old blocks again."""
    driver, _ = recorded(factory, (4,), ())
    batch = [Request(f"r{i}", [3 + i, 4, 5], SamplingParams(temperature=0.0), 30 if i == 0 else 4) for i in range(4)]
    driver.step([(r, 3) for r in batch])
    for _ in range(3):
        driver.step([(r, 1) for r in batch])
    for request in batch[1:]:
        driver.remove(request)
    backend = driver.runner._backend
    assert isinstance(backend, TorchPagedAttention)
    before = [store.clone() for store in backend.keys]
    own = set(batch[0].blocks)
    for _ in range(2):
        driver.step([(batch[0], 1)])
    changed = {
        block
        for old, new in zip(before, backend.keys, strict=True)
        for block in (old != new).flatten(1).any(1).nonzero().flatten().tolist()
    }
    assert changed <= own | {NULL_BLOCK}


def test_backends_that_read_lengths_on_the_host_record_around_attention_alone(factory: RunnerFactory) -> None:
    backend = create_backend("torch_paged", factory.shape, BLOCK, factory.dtype, CPU)
    _, forward = recorded(factory, (1, 2, 4), (8, 16), backend)
    assert [len(kind) for kind in forward._kinds] == [0, 2]


def test_recording_is_spread_over_time(factory: RunnerFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """While requests run, no step records more than one graph; the largest comes first, then the smallest."""
    layout = create_backend("torch_paged", factory.shape, BLOCK, factory.dtype, CPU).layout
    backend = ReadsLengths(AttentionSpec(layout, BLOCK, factory.dtype, CPU, "float32"))
    backend.allocate(BLOCKS)
    monkeypatch.setattr("penstock.worker.graphs.FIRST_AFTER_S", 0.0)
    monkeypatch.setattr("penstock.worker.graphs.BUSY_SHARE", 1.0)
    limits = GraphLimits((1, 2, 4), (8, 16), MAX_CONTEXT, reserve_bytes=1)
    forward = GraphForward(factory.model, backend, CallingDevice(), factory.shape.hidden_size, limits)
    driver = Driver(ModelRunner(factory.model, backend, VOCAB, CpuDevice(), forward=forward), BLOCKS)
    request = Request("r", [7, 8, 9], SamplingParams(temperature=0.0), 9)
    counts = []
    while not request.done:
        driver.step([(request, len(request.tokens) - request.computed)])
        counts.append([sorted(kind._graphs) for kind in forward._kinds])
    assert counts[:6] == [
        [[4], []],
        [[1, 4], []],
        [[1, 2, 4], []],
        [[1, 2, 4], [16]],
        [[1, 2, 4], [8, 16]],
        [[1, 2, 4], [8, 16]],
    ]
    assert without_graphs(factory, request).result == request.result


class SmallDevice(CallingDevice):
    """Its memory is full after some graphs."""

    def __init__(self, room: int, error: Exception | None = None):
        super().__init__()
        self.room, self.error, self.made = room, error, 0

    def graph(self, work: Any) -> Any:
        if self.made == self.room and self.error is not None:
            raise type(self.error)(*self.error.args)
        self.made += 1
        return super().graph(work)

    def graph_bytes(self) -> int:
        return (7 + self.made) << 20


@pytest.mark.parametrize(
    ("device", "count", "words"),
    [
        (SmallDevice(9), 3, "the 3 MiB for them are used up"),
        (SmallDevice(2, MemoryError()), 2, "the device's memory is full"),
        (SmallDevice(1, RuntimeError("cannot be recorded\nat all")), 1, "RuntimeError: cannot be recorded"),
    ],
)
def test_recording_ends_early(
    factory: RunnerFactory,
    device: SmallDevice,
    count: int,
    words: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what was recorded serves on."""
    device.made = 0
    monkeypatch.setattr(logging.getLogger("penstock"), "propagate", True)
    backend = create_backend("auto", factory.shape, BLOCK, factory.dtype, CPU)
    backend.allocate(BLOCKS)
    limits = GraphLimits((), (4, 8, 16, 32, 48), MAX_CONTEXT, reserve_bytes=3 << 20)
    forward = GraphForward(factory.model, backend, device, factory.shape.hidden_size, limits)
    driver = Driver(ModelRunner(factory.model, backend, VOCAB, CpuDevice(), forward=forward), BLOCKS)
    assert [driver.runner.idle() for _ in range(count + 2)][-1] is False
    assert len(forward._kinds[1]) == count
    request = Request("r", list(range(40)), SamplingParams(temperature=0.0), 5)
    assert driver.run_alone(request).result == factory.driver().run_alone(request.fresh()).result
    assert f"{5 - count} graphs are not recorded: {words}." in caplog.text


def test_a_compiler_can_read_the_models_code(factory: RunnerFactory) -> None:
    """What torch.compile sees of it on a GPU, where the ops are torch's or Triton's: no sizes and no layers apart."""
    before = kernels.native.isa() if kernels.native is not None else kernels.TWINS
    kernels.choose(kernels.TWINS)
    try:
        shape = msgspec.structs.replace(
            factory.shape, num_layers=10
        )  # more than compilations of one function before it gives up
        model = random_model(shape, torch.float32)
        backend = create_backend("torch_paged", shape, BLOCK, factory.dtype, CPU)
        backend.allocate(BLOCKS)
        plain = Driver(ModelRunner(model, backend, VOCAB, CpuDevice()), BLOCKS)
        request = Request("r", [5, 6, 7], SamplingParams(temperature=0.0, logprobs=2), 3)
        torch._dynamo.reset()
        backend.attend = torch.compiler.disable(backend.attend)  # type: ignore[method-assign]
        forward = EagerForward(compiled(model.forward, "eager"), backend)
        driver = Driver(ModelRunner(model, backend, VOCAB, CpuDevice(), forward=forward), BLOCKS)
        assert driver.run_alone(request).result == plain.run_alone(request.fresh()).result
        assert counters["stats"]["unique_graphs"] < 3 * shape.num_layers
        assert not any("recompile limit" in reason for reason in counters["unimplemented"])
    finally:
        kernels.choose(before)
