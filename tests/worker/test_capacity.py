"""How many KV blocks there are, and what the user reads about it."""

from __future__ import annotations

import pytest

from penstock.errors import StartError
from penstock.worker.capacity import GIB, KVDemand, MemoryUse, cpu_budget, gpu_budget, size_pool


def demand(**changes: object) -> KVDemand:
    fields = {"block_size": 16, "bytes_per_block": 1 << 20, "max_model_len": 1000, "max_num_seqs": 4}
    return KVDemand(**{**fields, **changes})


def test_what_is_available_bounds_the_pool() -> None:
    capacity = size_pool(demand(), 100 << 20, "said the test")
    assert capacity.num_blocks == 100
    assert "said the test" in capacity.explanation
    assert "100 blocks of 16 tokens" in capacity.explanation
    assert "1584 tokens" in capacity.explanation  # without the null block


def test_no_more_than_the_engine_can_use() -> None:
    capacity = size_pool(demand(), 100 * GIB, "plenty")
    assert capacity.num_blocks == 4 * 63 + 1
    assert "need no more" in capacity.explanation


@pytest.mark.parametrize(
    ("changes", "blocks"),
    [
        ({"memory_bytes": 70 << 20}, 70),
        ({"num_blocks_override": 5000}, 5000),
        ({"num_blocks_override": 64, "memory_bytes": 1}, 64),
    ],
)
def test_what_the_user_gives_wins(changes: dict, blocks: int) -> None:
    assert size_pool(demand(**changes), 1 << 30, "").num_blocks == blocks


@pytest.mark.parametrize("changes", [{}, {"memory_bytes": 63 << 20}, {"num_blocks_override": 63}])
def test_one_sequence_must_fit(changes: dict) -> None:
    with pytest.raises(StartError) as caught:
        size_pool(demand(**changes), 63 << 20, "")
    message = str(caught.value)
    assert "max seq len (1000)" in message
    assert "maximum model length is 992" in message
    assert "--max-model-len" in message
    assert "--kv-cache-memory-bytes" in message
    assert size_pool(demand(max_model_len=992, **changes), 63 << 20, "").num_blocks == 63


def test_no_memory_at_all() -> None:
    with pytest.raises(StartError, match="maximum model length is 0"):
        size_pool(demand(), 0, "")


def test_budgets() -> None:
    size, words = gpu_budget(MemoryUse(80 * GIB, 16 * GIB, 3 * GIB, 2 * GIB, 1 * GIB), 0.9)
    assert size == 72 * GIB - 22 * GIB
    numbers = ("80.00 GiB", "16.00 GiB weights", "3.00 GiB activations", "2.00 GiB for graphs", "1.00 GiB in other")
    assert all(number in words for number in numbers)
    assert gpu_budget(MemoryUse(80 * GIB, 70 * GIB, 3 * GIB, 0, 0), 0.9)[0] == 0
    size, words = cpu_budget(20 * GIB, 24 * GIB, 0.9)
    assert size == 5 * GIB
    assert "a quarter of 20.00 GiB free" in words
    size, words = cpu_budget(20 * GIB, 24 * GIB, 0.25)
    assert size == 2 * GIB
    assert "--gpu-memory-utilization" in words
