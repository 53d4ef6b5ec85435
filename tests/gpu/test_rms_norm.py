"""The Triton kernel of RMSNorm against torch."""

from __future__ import annotations

import pytest
import torch

from penstock.ops.rms_norm import add_rms_norm, add_rms_norm_twin, rms_norm, rms_norm_twin
from triton_checks import Kernel, check_compiled

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@pytest.mark.parametrize(("rows", "width"), [(1, 8), (3, 100), (5, 1030)])
def test_norms_equal_the_twins(rows: int, width: int, place: torch.device, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x, residual = (torch.randn(rows, width, dtype=dtype, device=place) for _ in range(2))
    weight = torch.randn(width, dtype=dtype, device=place)
    close = dict(rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), rms_norm_twin(x, weight, 1e-6), **close)
    sums = [residual.clone(), residual.clone()]
    normed = add_rms_norm(x, sums[0], weight, 1e-6), add_rms_norm_twin(x, sums[1], weight, 1e-6)
    torch.testing.assert_close(*normed, **close)
    assert torch.equal(*sums)


def test_heads_inside_a_wider_tensor(place: torch.device) -> None:
    wide = torch.randn(3, 7 * 16, device=place)
    heads = wide[:, 16:64].unflatten(1, (3, 16))
    weight = torch.randn(16, device=place)
    torch.testing.assert_close(rms_norm(heads, weight, 1e-5), rms_norm_twin(heads, weight, 1e-5))
    assert rms_norm(heads[:0], weight, 1e-5).shape == (0, 3, 16)


def test_a_row_has_the_same_bits_in_any_batch(place: torch.device) -> None:
    x, weight = torch.randn(9, 200, device=place), torch.randn(200, device=place)
    together = rms_norm(x, weight, 1e-6)
    assert torch.equal(together, torch.cat([rms_norm(row, weight, 1e-6) for row in x.split(1)]))


def test_it_compiles() -> None:
    pytest.importorskip("triton")
    pointers = dict.fromkeys(("x", "residual", "weight", "out"), "*bf16")
    sizes = dict.fromkeys(("rows", "heads", "token_stride", "head_stride"), "i32")
    flags = dict.fromkeys(("adds", "tile_rows", "tile_width"), "constexpr")
    signature = pointers | sizes | {"eps": "fp32", "width": "i32"} | flags
    aligned = (*pointers, "token_stride", "head_stride", "width")
    check_compiled(
        [
            Kernel(
                "penstock.ops.triton.rms_norm:norm_kernel",
                signature,
                {"adds": adds, "tile_rows": rows, "tile_width": width},
                num_warps=warps,
                aligned=aligned,
            )
            for adds, rows, width, warps in ((False, 8, 128, 4), (True, 1, 4096, 8))
        ]
    )
