"""Products with packed weights equal plain ones on every instruction set; a row always has the same bits."""

from __future__ import annotations

import pytest
import torch

from penstock.ops import kernels
from penstock.ops.matrix import Matrix, PackedMatrix, PlainMatrix

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-3}  # relative to the largest output
SHAPES = [(1, 1), (33, 90), (64, 64), (353, 65), (31, 511), (72, 1030), (2048, 256)]
ROWS = (1, 2, 3, 5, 6, 7, 11, 12, 13, 16, 25, 64, 130)


def normal(*size: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(dtype)


def packed(weight_NK: torch.Tensor) -> Matrix:
    matrix = PackedMatrix(*weight_NK.shape, weight_NK.dtype)
    matrix.weight_NK.copy_(weight_NK)
    matrix.finish()
    return matrix


def check_close(got: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    want = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    error = (got.double() - want).abs().max() / want.abs().max()
    assert error < TOLERANCES[x.dtype], f"{tuple(x.shape)} times {tuple(weight.shape)}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_equals_plain_products(instruction_set: str, n: int, k: int, dtype: torch.dtype) -> None:
    weight, bias = normal(n, k, dtype=dtype), normal(n, dtype=dtype, seed=2)
    matrix = packed(weight)
    for rows in ROWS:
        x = normal(rows, k, dtype=dtype, seed=rows)
        check_close(matrix.multiply(x), x, weight)
        check_close(matrix.multiply(x, bias), x, weight, bias)
        logits = matrix.multiply(x, bias, torch.float32)
        assert logits.dtype is torch.float32
        assert torch.equal(logits.to(dtype), matrix.multiply(x, bias)), "rounded once, at the end"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equals_its_twin(instruction_set: str, dtype: torch.dtype) -> None:
    weight, bias = normal(100, 77, dtype=dtype), normal(100, dtype=dtype, seed=2)
    twin = PlainMatrix(100, 77, dtype, torch.device("cpu"))
    twin.weight_NK.copy_(weight)
    twin.finish(bias)
    matrix, x = packed(weight), normal(40, 77, dtype=dtype)
    near = {"rtol": TOLERANCES[dtype], "atol": 10 * TOLERANCES[dtype]}
    torch.testing.assert_close(matrix.multiply(x, bias), twin.multiply(x, bias), **near)
    torch.testing.assert_close(
        matrix.multiply(x, bias, torch.float32), twin.multiply(x, bias, torch.float32), rtol=0.02, atol=0.1
    )
    ids = torch.tensor([3, 99, 0, 3])
    assert torch.equal(matrix.rows(ids), twin.rows(ids))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "k"), [(96, 70), (353, 1037)])
def test_bits_of_a_row_depend_on_nothing_else(instruction_set: str, n: int, k: int, dtype: torch.dtype) -> None:
    matrix, x = packed(normal(n, k, dtype=dtype)), normal(700, k, dtype=dtype)
    whole = matrix.multiply(x)
    for rows in (1, 2, 3, 7, 12, 13, 16, 31, 64, 129, 500):
        for start in (0, 1, 700 - rows):
            part = matrix.multiply(x[start : start + rows])
            assert torch.equal(part, whole[start : start + rows]), f"{rows} rows from {start}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_bits_do_not_depend_on_threads(instruction_set: str, dtype: torch.dtype) -> None:
    matrix, x = packed(normal(353, 1037, dtype=dtype)), normal(500, 1037, dtype=dtype)
    alone = matrix.multiply(x)
    try:
        for threads in (2, 3):
            kernels.native.set_num_threads(threads)
            assert all(torch.equal(matrix.multiply(x[:rows]), alone[:rows]) for rows in (1, 16, 200, 500))
            again = packed(normal(353, 1037, dtype=dtype))
            assert torch.equal(again.multiply(x), alone)
    finally:
        kernels.native.set_num_threads(1)


def test_thousands_of_rows_and_features(instruction_set: str) -> None:
    weight, x = normal(256, 4111, dtype=torch.bfloat16), normal(2500, 4111, dtype=torch.bfloat16)
    matrix = packed(weight)
    got = matrix.multiply(x, out_dtype=torch.float32)
    check_close(got, x, weight)
    assert torch.equal(matrix.multiply(x[777:778], out_dtype=torch.float32)[0], got[777])


def test_instruction_sets_share_one_layout(instruction_set: str) -> None:
    weight, x = normal(70, 90, dtype=torch.bfloat16), normal(5, 90, dtype=torch.bfloat16)
    matrix = packed(weight)
    for other in kernels.names():
        if other != kernels.TWINS:
            kernels.choose(other)
            check_close(matrix.multiply(x), x, weight)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_rows_of_a_packed_weight(instruction_set: str, n: int, k: int, dtype: torch.dtype) -> None:
    weight = normal(n, k, dtype=dtype)
    ids = torch.arange(n).flip(0)
    assert torch.equal(packed(weight).rows(ids), weight[ids])


def test_a_missing_row_is_an_error(instruction_set: str) -> None:
    matrix = packed(normal(33, 4))
    for index in (-1, 33):
        with pytest.raises(IndexError):
            matrix.rows(torch.tensor([0, index]))


def test_special_values(instruction_set: str) -> None:
    """Infinities and NaN go to the outputs of their own row; padding never makes one."""
    weight = normal(40, 33, dtype=torch.bfloat16)
    x = normal(5, 33, dtype=torch.bfloat16)
    x[1, 4], x[3, 32] = float("inf"), float("nan")
    y = packed(weight).multiply(x)
    assert y[[0, 2, 4]].isfinite().all()
    assert y[1].isinf().all()
    assert y[3].isnan().all()


def test_no_rows(instruction_set: str) -> None:
    matrix = packed(normal(40, 33))
    assert matrix.multiply(torch.empty(0, 33)).shape == (0, 40)
    assert matrix.rows(torch.empty(0, dtype=torch.int64)).shape == (0, 33)
