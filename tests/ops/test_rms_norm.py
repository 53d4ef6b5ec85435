"""The kernels equal their twins on every instruction set here, and a row's bits do not depend on the other rows."""

from __future__ import annotations

import pytest
import torch

from penstock.ops.rms_norm import add_rms_norm, add_rms_norm_twin, rms_norm, rms_norm_twin

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(1, 1), (3, 17), (5, 64), (1, 1024), (70, 1000), (900, 128), (9, 5, 96)]
# A sum in another order may move a value across a rounding, twice: before and after the weight.
TOLERANCES = {torch.float32: (1e-5, 1e-5), torch.bfloat16: (0.016, 1e-3), torch.float16: (0.002, 1e-3)}


def values(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * 3).to(dtype)


def check_close(got: torch.Tensor, want: torch.Tensor) -> None:
    rtol, atol = TOLERANCES[got.dtype]
    torch.testing.assert_close(got, want, rtol=rtol, atol=atol)
    assert (got != want).float().mean() < 0.02 or got.dtype is torch.float32


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_its_twin(instruction_set: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, weight = values(*shape, dtype=dtype), values(shape[-1], dtype=dtype)
    check_close(rms_norm(x, weight, 1e-6), rms_norm_twin(x, weight, 1e-6))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adding_equals_its_twin(instruction_set: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, weight, residual = values(*shape, dtype=dtype), values(shape[-1], dtype=dtype), values(*shape, dtype=dtype) * 7
    total = residual.clone()
    want = add_rms_norm_twin(x, total, weight, 1e-6)
    check_close(add_rms_norm(x, residual, weight, 1e-6), want)
    assert torch.equal(residual, total)  # one addition, one rounding: nothing may differ


@pytest.mark.parametrize("width", [77, 1024])
def test_rows_do_not_depend_on_each_other(instruction_set: str, width: int) -> None:
    x, weight = values(100, width, dtype=torch.bfloat16), values(width, dtype=torch.bfloat16)
    residual = values(100, width, dtype=torch.bfloat16) * 2
    alone = torch.cat([add_rms_norm(x[i : i + 1], residual[i : i + 1].clone(), weight, 1e-6) for i in range(100)])
    assert torch.equal(add_rms_norm(x, residual, weight, 1e-6), alone)
    assert torch.equal(rms_norm(x, weight, 1e-6)[37], rms_norm(x[37:38], weight, 1e-6)[0])


def test_a_strided_view_is_normed_as_its_copy(instruction_set: str) -> None:
    x, weight = values(6, 300, dtype=torch.bfloat16), values(64, dtype=torch.bfloat16)
    heads = x[:, 10:138].unflatten(1, (2, 64))
    assert torch.equal(rms_norm(heads, weight, 1e-6), rms_norm(heads.clone(), weight, 1e-6))


def test_zeros_and_wide_rows(instruction_set: str) -> None:
    weight = torch.ones(40_000)
    assert torch.equal(rms_norm(torch.zeros(2, 40_000), weight, 1e-6), torch.zeros(2, 40_000))
    torch.testing.assert_close(rms_norm(torch.full((1, 40_000), 3.0), weight, 0.0), torch.ones(1, 40_000))
