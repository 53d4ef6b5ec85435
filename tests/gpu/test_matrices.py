"""The matrices of a GPU, by the front of each: filled as a loader does, multiplied, read."""

from __future__ import annotations

import pytest
import torch

from penstock.ops.fp8_matrix import new_fp8_matrix, quantize_fp8
from penstock.ops.int_matrix import new_int_matrix, quantize_weight
from penstock.ops.matrix import InvariantMatrix, LibraryMatrix, new_matrix

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
