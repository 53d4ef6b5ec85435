"""Memory of the KV pool: zero, aligned, writable, and not there until it is used."""

from __future__ import annotations

import gc
import time

import psutil
import pytest
import torch

from penstock.ops.lazy_zeros import lazy_zeros
from penstock.platforms.huge_pages import huge_pages

CPU = torch.device("cpu")


def resident() -> int:
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_aligned_and_writable(dtype: torch.dtype) -> None:
    x = lazy_zeros((3, 5, 7), dtype, CPU)
    assert x.shape == (3, 5, 7)
    assert x.dtype == dtype
    assert not x.any()
    assert x.data_ptr() % 64 == 0
    x.flatten(0, 1).index_copy_(0, torch.tensor([4]), torch.ones(1, 7, dtype=dtype))
    assert x.sum() == 7


def test_small_tensors_share_huge_pages() -> None:
    tensors = [lazy_zeros((1_500_001,), torch.uint8, CPU, huge_pages=True) for _ in range(50)]
    for i, x in enumerate(tensors):
        assert x.data_ptr() % 4096 == 0
        assert not x.any()
        x.fill_(i)
    assert all((x == i).all() for i, x in enumerate(tensors))
    large = lazy_zeros((20 << 20,), torch.uint8, CPU, huge_pages=True)
    assert not large.any()


def test_nothing_at_all() -> None:
    assert lazy_zeros((0, 4), torch.float32, CPU).shape == (0, 4)


def test_memory_is_taken_on_use_and_given_back() -> None:
    before = resident()
    x = lazy_zeros((1 << 28,), torch.float32, CPU)  # 1 GiB
    assert resident() - before < 64 << 20
    x[: 1 << 26] = 1.0  # a quarter
    taken = resident() - before
    assert 200 << 20 < taken < 400 << 20
    del x
    gc.collect()
    assert resident() - before < 64 << 20


def test_memory_that_was_made_ready_is_zero_and_the_rest_is_given_back() -> None:
    before = resident()
    with huge_pages.reserved(256 << 20):
        deadline = time.monotonic() + 30
        while resident() - before < 200 << 20:  # a thread touches it by huge pages
            assert time.monotonic() < deadline
            time.sleep(0.01)
        tensors = [lazy_zeros((30_000_000,), torch.uint8, CPU, huge_pages=True) for _ in range(2)]
        large = lazy_zeros((256 << 20,), torch.uint8, CPU, huge_pages=True)  # more than is left
    assert resident() - before < 100 << 20
    assert not any(x.any() for x in tensors)
    for i, x in enumerate(tensors):
        x.fill_(i + 1)
    assert not large.any()
    assert all((x == i + 1).all() for i, x in enumerate(tensors))
    del tensors, x
    gc.collect()
    large_only = resident() - before
    assert large_only < 300 << 20
