"""Products with weights of 8 and 4 bits equal dequantized ones on every instruction set; a row has the same bits."""

from __future__ import annotations

import pytest
import torch

from penstock.ops import kernels
from penstock.ops.int_matrix import (
    LEVELS,
    IntMatrix,
    multiply_twin,
    quantize_weight,
    quantize_weight_twin,
    round_rows,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
KINDS = [(8, 0, torch.float32), (4, 32, torch.bfloat16), (4, 64, torch.float16), (4, 128, torch.float32)]
SHAPES = [(1, 1), (33, 90), (64, 64), (353, 65), (31, 511), (72, 1030), (32, 2100)]
ROWS = (1, 2, 3, 5, 12, 13, 16, 25, 64)


def normal(*size: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(dtype)


def matrix_of(weight_NK: torch.Tensor, bits: int, group: int, scale_dtype: torch.dtype) -> IntMatrix:
    matrix = IntMatrix(*weight_NK.shape, bits, group, scale_dtype)
    numbers, scales = quantize_weight(weight_NK, bits, matrix.group, scale_dtype)
    middle = weight_NK.shape[0] // 2  # in two parts, which need not end with a panel
    for part in (slice(0, middle), slice(middle, None)):
        matrix.put_numbers(part.start, numbers[part])
        matrix.put_scales(part.start, scales[part])
    return matrix


def dequantized(matrix: IntMatrix) -> torch.Tensor:
    scales = matrix.scales().double().repeat_interleave(matrix.group, 1)[:, : matrix.k]
    return matrix.numbers().double() * scales


def rounded(x: torch.Tensor, group: int) -> torch.Tensor:
    """Activations as the product takes them."""
    parts = [round_rows(part) for part in x.split(group, 1)]
    return torch.cat([numbers.double() * scale for numbers, scale in parts], 1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("n", "k"), SHAPES)
def test_equals_the_dequantized_product(
    instruction_set: str, n: int, k: int, kind: tuple[int, int, torch.dtype]
) -> None:
    matrix, bias = matrix_of(normal(n, k), *kind), normal(n, seed=2)
    weight = dequantized(matrix)
    for rows in ROWS:
        x = normal(rows, k, seed=rows)
        want = rounded(x, matrix.group) @ weight.T + bias
        torch.testing.assert_close(matrix.multiply(x, bias).double(), want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(matrix.multiply(x, bias), multiply_twin(matrix, x, bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_types(instruction_set: str, dtype: torch.dtype, kind: tuple[int, int, torch.dtype]) -> None:
    matrix = matrix_of(normal(70, 200, dtype=dtype), *kind)
    x, bias = normal(20, 200, dtype=dtype), normal(70, dtype=dtype, seed=2)
    y = matrix.multiply(x, bias, torch.float32)
    assert y.dtype is torch.float32
    torch.testing.assert_close(y, multiply_twin(matrix, x, bias), rtol=1e-4, atol=1e-4)
    assert torch.equal(matrix.multiply(x, bias), y.to(dtype)), "rounded once, at the end"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_row_always_has_the_same_bits(instruction_set: str, kind: tuple[int, int, torch.dtype]) -> None:
    matrix, x = matrix_of(normal(353, 1100), *kind), normal(900, 1100, dtype=torch.bfloat16)
    whole = matrix.multiply(x)
    try:
        for threads in (1, 2, 3):
            kernels.native.set_num_threads(threads)
            for rows in (1, 2, 7, 12, 13, 40, 300, 900):  # threads share panels, panels and rows, and rows
                start = (900 - rows) // 3
                part = matrix.multiply(x[start : start + rows])
                assert torch.equal(part, whole[start : start + rows]), f"{rows} rows, {threads} threads"
    finally:
        kernels.native.set_num_threads(1)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_quantizing_equals_its_twin(
    instruction_set: str, dtype: torch.dtype, kind: tuple[int, int, torch.dtype]
) -> None:
    bits, group, scale_dtype = kind
    weight = normal(40, 300, dtype=dtype)
    weight[3] = 0.0
    numbers, scales = quantize_weight(weight, bits, group, scale_dtype)
    want_numbers, want_scales = quantize_weight_twin(weight, group or 300, LEVELS[bits], scale_dtype)
    assert torch.equal(scales, want_scales)
    assert torch.equal(numbers, want_numbers)
    assert not numbers[3].any()


def test_error_of_rounding(instruction_set: str) -> None:
    weight = normal(64, 512)
    errors = []
    for kind in KINDS:
        matrix = matrix_of(weight, *kind)
        errors.append(float((dequantized(matrix) - weight).norm() / weight.norm()))
    assert errors[0] < 0.01
    assert errors[1] < errors[2] < errors[3] < 0.14


@pytest.mark.parametrize("bits", [8, 4])
def test_numbers_and_scales_come_back(instruction_set: str, bits: int) -> None:
    """Also the lowest number, which a symmetric scale does not make but a checkpoint may hold."""
    numbers = torch.arange(-(1 << bits - 1), 1 << bits - 1, dtype=torch.int8).repeat(180)[: 33 * 84].view(33, 84)
    native = IntMatrix(33, 84, bits, 32 if bits == 4 else 0)
    kernels.choose(kernels.TWINS)
    twin = IntMatrix(33, 84, bits, 32 if bits == 4 else 0)
    twin.put_numbers(0, numbers)
    kernels.choose(instruction_set)
    native.put_numbers(0, numbers)
    scales = normal(33, native.groups)
    for matrix in (native, twin):
        matrix.put_scales(0, scales)
        assert torch.equal(matrix.numbers(), numbers)
        assert torch.equal(matrix.scales(), scales)
    x = normal(3, 84)
    torch.testing.assert_close(native.multiply(x), multiply_twin(twin, x, None), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows(instruction_set: str, dtype: torch.dtype) -> None:
    matrix = matrix_of(normal(70, 90), 8, 0, torch.float32)
    ids = torch.tensor([3, 69, 0, 3])
    got = matrix.rows(ids, dtype)
    assert torch.equal(got, dequantized(matrix)[ids].float().to(dtype))
    kernels.choose(kernels.TWINS)
    assert torch.equal(matrix.rows(ids, dtype), got)
    kernels.choose(instruction_set)
    for wrong in (70, -1):
        with pytest.raises(IndexError):
            matrix.rows(torch.tensor([wrong]), dtype)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_that_are_not_finite_stay_in_their_row(
    instruction_set: str, kind: tuple[int, int, torch.dtype]
) -> None:
    matrix, x = matrix_of(normal(40, 256), *kind), normal(5, 256)
    clean = matrix.multiply(x)
    x[1, 7], x[3, 9], x[4] = float("nan"), float("inf"), 0.0
    y = matrix.multiply(x)
    assert y[1].isnan().all()
    assert not y[3].isfinite().any()
    assert not y[4].any()
    assert torch.equal(y[[0, 2]], clean[[0, 2]])
