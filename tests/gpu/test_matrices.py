"""The matrices of a GPU, by the front of each: filled as a loader does, multiplied, read."""

from __future__ import annotations

import pytest
import torch

from penstock.ops.fp8_matrix import new_fp8_matrix, quantize_fp8, quantize_fp8_twin
from penstock.ops.int_matrix import new_int_matrix, quantize_weight
from penstock.ops.matrix import InvariantMatrix, LibraryMatrix, new_matrix
from triton_checks import Kernel, check_compiled

N, K = 48, 160


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.float().cpu() - want.cpu()).norm() / want.cpu().norm())


@pytest.mark.parametrize("invariant", [False, True])
def test_plain_weights(invariant: bool, place: torch.device) -> None:
    matrix = new_matrix(N, K, torch.float16, place, invariant)
    assert type(matrix) is (InvariantMatrix if invariant else LibraryMatrix)
    weight, bias = torch.randn(N, K).half(), torch.randn(N, device=place).half()
    matrix.weight_NK.copy_(weight)
    matrix.finish(bias)
    x = torch.randn(5, K, device=place).half()
    want = x.float() @ weight.float().to(place).T + bias.float()
    assert error(matrix.multiply(x, bias), want) < 2e-3
    wide = matrix.multiply(x, bias, torch.float32)
    assert wide.dtype is torch.float32
    assert error(wide, want) < (1e-5 if place.type == "cuda" or invariant else 2e-3)
    assert torch.equal(matrix.rows(torch.tensor([7, 0], device=place)).cpu(), weight[[7, 0]])


@pytest.mark.parametrize(("bits", "group"), [(8, 0), (4, 32), (4, 64)])
def test_whole_numbers(bits: int, group: int, place: torch.device) -> None:
    matrix = new_int_matrix(N, K, bits, group, torch.float16, place, False)
    weight = torch.randn(N, K).half()
    wide = torch.empty(N, K)
    for first in (0, 16):
        rows = slice(first, 16 if first == 0 else N)
        numbers, scales = quantize_weight(weight[rows], bits, matrix.group, matrix.scale_dtype)
        matrix.put_numbers(first, numbers)
        matrix.put_scales(first, scales)
        wide[rows] = numbers * scales.repeat_interleave(matrix.group, 1)[:, :K]
    spread = matrix.scales().repeat_interleave(matrix.group, 1)[:, :K]
    torch.testing.assert_close((matrix.numbers() * spread).cpu(), wide)
    x, bias = torch.randn(3, K, device=place).half(), torch.randn(N, device=place).half()
    assert error(matrix.multiply(x, bias), x.float().cpu() @ wide.T + bias.float().cpu()) < 2e-3
    if bits == 8:
        got = matrix.rows(torch.tensor([5, 40], device=place), torch.float32)
        torch.testing.assert_close(got.cpu(), wide[[5, 40]])


def test_rows_as_eight_bit_floats(place: torch.device, dtype: torch.dtype) -> None:
    x = torch.randn(4, 2100, device=place).to(dtype)[:, :2050]
    x[1] = 0
    x[2, 7] = 100
    (got, scales), (want, twins) = quantize_fp8(x), quantize_fp8_twin(x)
    torch.testing.assert_close(scales, twins, rtol=1e-6, atol=0)
    got, want = got.float(), want.float()
    counts = torch.ones_like(want, dtype=torch.bool)
    if place.type == "cpu":  # the interpreter loses the carry into the next power of two, and the least numbers
        counts = (want.frexp().mantissa.abs() != 0.5) & (want.abs() >= 2**-6)
    assert counts.float().mean() > 0.6
    assert ((got - want).abs() <= want.abs() / 8 + 2**-9)[counts].all()  # a step of 3 bits, or of the least
    assert (got == want)[counts].float().mean() > 0.99


def test_it_compiles() -> None:
    pytest.importorskip("triton")
    signature = {"x": "*bf16", "numbers": "*fp8e4nv", "scales": "*fp32", "width": "i32", "row_stride": "i32"}
    path, aligned = "penstock.ops.triton.fp8_rows:fp8_rows_kernel", (*list(signature)[:2], "width", "row_stride")
    kernel = Kernel(path, signature | {"block": "constexpr"}, {"block": 2048}, aligned=aligned)
    check_compiled([kernel], capabilities=(90,))


@pytest.mark.parametrize("group", [0, 128])
@pytest.mark.parametrize("rows", [3, 80])
def test_eight_bit_floats(rows: int, group: int, place: torch.device) -> None:
    matrix = new_fp8_matrix(N, K, group, torch.float16, place, False)
    numbers, scales = quantize_fp8(torch.randn(N, K))
    scales = scales.expand(N, matrix.groups).contiguous()
    scales[:, -1] *= 2
    matrix.put_numbers(0, numbers)
    matrix.put_scales(0, scales)
    matrix.finish()
    wide = numbers.float() * scales.repeat_interleave(matrix.group, 1)[:, :K]
    x, bias = torch.randn(rows, K, device=place).half(), torch.randn(N, device=place).half()
    by_library = place.type == "cuda" and rows > 64 and not group
    want = x.float().cpu() @ wide.T + bias.float().cpu()
    assert error(matrix.multiply(x, bias), want) < (0.04 if by_library else 2e-3)
