"""The executor that keeps its worker in the calling process, over a model with made-up weights."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from worker_cases import BLOCK, VOCAB, small_shape

from penstock.config.engine_config import (
    CacheConfig,
    CompilationConfig,
    DeviceConfig,
    EngineConfig,
    ModelConfig,
    SchedulerConfig,
)
from penstock.errors import ClientError, StartError
from penstock.executor.base import executors
from penstock.ops import kernels
from penstock.params import SamplingParams
from penstock.scheduler.plan import NewRow, Row, StepPlan


def config(path: Path, *, cpu_threads: int = 0, kv_dtype: str = "float32", **cache: object) -> EngineConfig:
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
        cache=CacheConfig(**{"block_size": BLOCK, "dtype": kv_dtype, **cache}),
        scheduler=SchedulerConfig(max_num_seqs=3, max_num_batched_tokens=64),
        device=DeviceConfig(cpu_threads=cpu_threads),
    )


def test_a_whole_life(tmp_path: Path) -> None:
    executor = executors.get("uni")(config(tmp_path))
    progress: list[tuple[str, float]] = []
    executor.initialize(lambda what, done: progress.append((what, done)))
    shares = [done for _, done in progress]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    capacity = executor.kv_capacity()
    assert capacity.num_blocks == 3 * 13 + 1  # three sequences of 100 tokens in blocks of 8, and the null block
    executor.allocate_kv(capacity.num_blocks)

    new = NewRow("r", [5, 6, 7], 3, SamplingParams(temperature=0.0, logprobs=1))
    first = executor.execute(StepPlan(0, [], [new], [Row("r", 0, 3, [1], True)]))
    assert first.done()
    (row,) = first.result().rows
    assert 0 <= row.token_ids[0] < VOCAB
    second = executor.execute(StepPlan(1, [], [], [Row("r", 3, 1, [], True)])).result()
    assert second.step == 1
    assert len(second.rows[0].token_ids) == 1

    unknown = executor.execute(StepPlan(2, ["never heard of"], [], []))
    with pytest.raises(KeyError):
        unknown.result()
    executor.shutdown()
    executor.shutdown()


def test_calls_by_name(tmp_path: Path) -> None:
    executor = executors.get("uni")(config(tmp_path, cpu_threads=1))
    executor.initialize(lambda what, done: None)
    (facts,) = executor.call("describe")
    assert facts["threads"] == kernels.native.num_threads() == 1
    assert facts["dtype"] == "float32"
    with pytest.raises(ClientError, match="describe"):
        executor.call("shutdown")
    executor.shutdown()


def test_threads_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
    for option, expected in ((0, 3), (1, 1)):
        executor = executors.get("uni")(config(tmp_path, cpu_threads=option))
        executor.initialize(lambda what, done: None)
        assert executor.call("describe")[0]["threads"] == expected
        executor.shutdown()


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ({"num_blocks_override": 13}, "max seq len"),
        ({"memory_bytes": 1000}, "max seq len"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, cache: dict, message: str) -> None:
    executor = executors.get("uni")(config(tmp_path, **cache))

    def start() -> None:
        executor.initialize(lambda what, done: None)
        executor.kv_capacity()

    with pytest.raises(StartError, match=message):
        start()
    executor.shutdown()


@pytest.mark.parametrize("kv_dtype", ["bfloat16", "float16", "fp8_e4m3", "fp8_e5m2", "int8"])
def test_keys_and_values_in_a_type_of_their_own(tmp_path: Path, kv_dtype: str) -> None:
    executor = executors.get("uni")(config(tmp_path, kv_dtype=kv_dtype))
    executor.initialize(lambda what, done: None)
    executor.allocate_kv(executor.kv_capacity().num_blocks)
    new = NewRow("r", [5, 6, 7], 3, SamplingParams(temperature=0.0))
    (row,) = executor.execute(StepPlan(0, [], [new], [Row("r", 0, 3, [1], True)])).result().rows
    assert len(row.token_ids) == 1
    executor.shutdown()


def test_8_bit_keys_and_values_are_refused_without_kernels(tmp_path: Path) -> None:
    isa = kernels.native.isa() if kernels.native is not None else kernels.TWINS
    kernels.choose(kernels.TWINS)
    executor = executors.get("uni")(config(tmp_path, kv_dtype="int8"))
    try:
        with pytest.raises(StartError, match="--kv-cache-dtype int8: 8-bit keys and values need the C"):
            executor.initialize(lambda what, done: None)
    finally:
        kernels.choose(isa)
        executor.shutdown()


def test_graphs_are_recorded_while_there_is_nothing_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: what a CPU's configuration never asks for is asked for here."""
    monkeypatch.setattr("penstock.platforms.cpu.CpuDevice.pads_steps", True)

    def tokens(compilation: CompilationConfig) -> tuple[list[int], int]:
        given = msgspec.structs.replace(config(tmp_path), compilation=compilation)
        executor = executors.get("uni")(given)
        executor.initialize(lambda what, done: None)
        executor.allocate_kv(executor.kv_capacity().num_blocks)
        idle = 0
        while executor.idle():
            left = executor.call("describe")[0].get("graphs_left", 0)
            if not left:
                continue  # attention takes memory
            idle += 1
            assert left == len(compilation.mixed_sizes) - idle
        new = NewRow("r", [5, 6, 7], 3, SamplingParams(temperature=0.0))
        plans = [StepPlan(0, [], [new], [Row("r", 0, 3, [1], True)])]
        plans += [StepPlan(i, [], [], [Row("r", 2 + i, 1, [], True)]) for i in range(1, 5)]
        found = [token for plan in plans for token in executor.execute(plan).result().rows[0].token_ids]
        executor.shutdown()
        return found, idle

    plain, nothing = tokens(CompilationConfig())
    assert nothing == 0
    assert tokens(CompilationConfig(mixed_sizes=(1, 2, 4, 8), max_context=100)) == (plain, 3)
