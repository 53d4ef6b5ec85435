"""The kernel equals its twin on every instruction set here, and a row's bits do not depend on the other rows."""

from __future__ import annotations

import pytest
import torch

from penstock.ops.silu_and_mul import silu_and_mul, silu_and_mul_twin


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 17), (5, 64), (1, 3072), (70, 1000), (2000, 33)])
def test_equals_its_twin(instruction_set: str, rows: int, width: int, dtype: torch.dtype) -> None:
    x = (torch.randn(rows, 2 * width, generator=torch.Generator().manual_seed(rows)) * 8).to(dtype)
    torch.testing.assert_close(silu_and_mul(x), silu_and_mul_twin(x))


def test_rows_do_not_depend_on_each_other(instruction_set: str) -> None:
    x = torch.randn(100, 2 * 77, generator=torch.Generator().manual_seed(1)).bfloat16()
    whole = silu_and_mul(x)
    assert all(torch.equal(silu_and_mul(x[i : i + 1])[0], whole[i]) for i in range(100))


def test_extremes(instruction_set: str) -> None:
    gate = torch.tensor([0.0, -0.0, 100.0, -100.0, 1e4, -1e4, float("inf"), float("nan")])
    got = silu_and_mul(torch.cat([gate, torch.ones(8)]).unsqueeze(0))[0]
    assert got[:7].tolist() == pytest.approx([0, 0, 100, 0, 1e4, 0, float("inf")], abs=1e-30)
    assert got[7].isnan()
