"""Triton's kernels that look at each number by itself, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from penstock.ops.silu_and_mul import silu_and_mul, silu_and_mul_twin
from penstock.ops.token_mask import apply_token_mask, apply_token_mask_twin
from triton_checks import Kernel, check_compiled


@pytest.mark.parametrize(("rows", "width"), [(1, 3), (3, 1030), (0, 5)])
def test_silu_and_mul(rows: int, width: int, place: torch.device, dtype: torch.dtype) -> None:
    x = torch.randn(rows, 2 * width + 2, device=place).to(dtype)[:, : 2 * width] * 4
    tolerance = 1e-6 if dtype is torch.float32 else 4e-3 if dtype is torch.float16 else 2e-2
    torch.testing.assert_close(silu_and_mul(x), silu_and_mul_twin(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("width", "rows"), [(1, [0]), (33, [2, 0]), (5000, [0, 1, 3])])
def test_masks(width: int, rows: list[int], place: torch.device) -> None:
    rng = np.random.default_rng(width)
    masks = rng.integers(-(2**31), 2**31, (len(rows), (width + 31) // 32)).astype(np.int32)
    logits = torch.randn(4, width, device=place)
    logits[0, ::2] = -torch.inf
    got, want = logits.clone(), logits.clone()
    apply_token_mask(got, rows, masks)
    apply_token_mask_twin(want, rows, masks)
    assert torch.equal(got, want)


def test_where_all_that_is_allowed_was_forbidden_the_mask_wins(place: torch.device) -> None:
    logits = torch.tensor([[1.0, -torch.inf, 2.0, -torch.inf]] * 2, device=place)
    apply_token_mask(logits, [0, 1], np.array([[0b1010], [0b0110]], np.int32))
    inf = torch.inf
    assert logits.tolist() == [[-inf, 0.0, -inf, 0.0], [-inf, -inf, 2.0, -inf]]


def test_they_compile() -> None:
    pytest.importorskip("triton")
    silu = {"x": "*bf16", "out": "*bf16", "width": "i32", "row_stride": "i32", "block": "constexpr"}
    mask = {"logits": "*fp32", "rows": "*i64", "masks": "*i32", "width": "i32", "words": "i32", "row_stride": "i32"}
    folder = "penstock.ops.triton"
    check_compiled(
        [
            Kernel(f"{folder}.silu_and_mul:silu_and_mul_kernel", silu, {"block": 1024}, aligned=tuple(silu)[:4]),
            Kernel(f"{folder}.token_mask:mask_kernel", mask | {"block": "constexpr"}, {"block": 4096}, num_warps=8),
        ]
    )
