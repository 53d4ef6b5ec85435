"""Triton's products against torch: plain weights, and those of 8 and 4 bits."""

from __future__ import annotations

import pytest
import torch

from penstock.ops import triton as triton_ops
from triton_checks import Kernel, check_compiled

FORMS = ["plain", "int8", "int4", "fp8", "fp8-bits", "fp8-groups"]


def made(form: str, n: int, k: int, dtype: torch.dtype, device: torch.device) -> tuple[object, torch.Tensor]:
    """(weight for the kernel, the same in float32)."""
    pytest.importorskip("triton")
    from penstock.ops.triton.product import BYTES, FP8_BITS, NIBBLES, PLAIN, Weight

    generator = torch.Generator().manual_seed(n)
    if form == "plain":
        weight = torch.randn(n, k, generator=generator).to(dtype)
        return Weight(weight.to(device), None, PLAIN, k), weight.float()
    scales = torch.rand(n, generator=generator) * 0.1
    if form == "int8":
        numbers = torch.randint(-127, 128, (n, k), dtype=torch.int8, generator=generator)
        return Weight(numbers.to(device), scales.to(device), BYTES, k), numbers * scales.unsqueeze(1)
    if form == "int4":
        groups = -(-k // 32)
        numbers = torch.randint(-8, 8, (n, groups, 32), dtype=torch.int8, generator=generator)
        grouped = torch.rand(n, groups, generator=generator).to(dtype)
        low, high = (numbers + 8).view(torch.uint8).chunk(2, 2)
        packed = (low | high << 4).flatten(1)
        wide = (numbers * grouped.float().unsqueeze(2)).flatten(1)[:, :k]
        return Weight(packed.to(device), grouped.to(device), NIBBLES, k, 32), wide
    numbers = (torch.randn(n, k, generator=generator) * 50).to(torch.float8_e4m3fn)
    numbers[0, :4] = torch.tensor([448.0, -(2.0**-9), 0.0, 2.0**-7]).to(torch.float8_e4m3fn)
    if form == "fp8-groups":
        grouped = torch.rand(n, -(-k // 128), generator=generator)
        wide = numbers.float() * grouped.repeat_interleave(128, 1)[:, :k]
        return Weight(numbers.to(device), grouped.to(device), BYTES, k, 128), wide
    stored = numbers.view(torch.uint8) if form == "fp8-bits" else numbers
    form_code = FP8_BITS if form == "fp8-bits" else BYTES
    return Weight(stored.to(device), scales.to(device), form_code, k), numbers.float() * scales.unsqueeze(1)


def check(got: torch.Tensor, x: torch.Tensor, wide: torch.Tensor, bias: torch.Tensor | None) -> None:
    want = x.float().cpu() @ wide.T + (0 if bias is None else bias.float().cpu())
    error = (got.float().cpu() - want).norm() / want.norm()
    assert error < {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[x.dtype]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("rows", "n", "k"), [(3, 70, 264), (70, 33, 100)])
def test_products(form: str, rows: int, n: int, k: int, place: torch.device, dtype: torch.dtype) -> None:
    weight, wide = made(form, n, k, dtype, place)
    product = triton_ops.load("penstock.ops.triton.product:product")
    x = torch.randn(rows, k + 5, device=place).to(dtype)[:, :k]
    bias = torch.randn(n, device=place).to(dtype)
    check(product(x, weight, bias, dtype, False), x, wide, bias)
    got = product(x, weight, None, torch.float32, True)
    check(got, x, wide, None)
    assert got.dtype is torch.float32
    assert product(x[:0], weight, bias, dtype, True).shape == (0, n)


def test_splitting_the_sums(place: torch.device) -> None:
    weight, wide = made("int8", 40, 2048, torch.float16, place)
    x, bias = torch.randn(2, 2048, device=place).half(), torch.randn(40, device=place).half()
    check(triton_ops.load("penstock.ops.triton.product:product")(x, weight, bias, torch.float16, False), x, wide, bias)


@pytest.mark.parametrize("form", ["plain", "int4"])
def test_invariant_products_have_the_same_bits_in_any_batch(form: str, place: torch.device) -> None:
    weight, _ = made(form, 70, 200, torch.float16, place)
    product = triton_ops.load("penstock.ops.triton.product:product")
    x = torch.randn(80, 200, device=place).half()
    together = product(x, weight, None, torch.float16, True)
    # The interpreter multiplies by a library, to which a row's place in its tile of 64 matters; a GPU does not.
    for rows in (slice(0, 1), slice(64, 80), slice(3, 70) if place.type == "cuda" else slice(0, 70)):
        assert torch.equal(product(x[rows], weight, None, torch.float16, True), together[rows])


def test_they_compile() -> None:
    pytest.importorskip("triton")
    pointers = {"x": "*bf16", "weight": "*bf16", "scales": "*fp32", "bias": "*bf16", "y": "*bf16"}
    sizes = dict.fromkeys(("rows", "n", "k", "x_stride", "weight_stride", "groups", "splits"), "i32")
    names = ("form", "grouped", "has_bias", "whole", "tile_rows", "tile_columns", "depth")
    aligned = (*pointers, "n", "k", "x_stride", "weight_stride")
    path = "penstock.ops.triton.product:product_kernel"

    def wide(tiles: tuple[int, int, int], stages: int) -> Kernel:
        signature = dict.fromkeys(pointers, "*fp32") | sizes | dict.fromkeys(names, "constexpr")
        return Kernel(
            path, signature, dict(zip(names, (0, False, True, True, *tiles), strict=True)), 4, stages, aligned
        )

    def kernel(
        form: int, stored: str, tiles: tuple[int, int, int], grouped: bool, warps: int, stages: int, whole: bool = True
    ) -> Kernel:
        values = (form, grouped, False, whole and form != 3, *tiles)
        signature = pointers | {"weight": stored} | sizes | dict.fromkeys(names, "constexpr")
        if grouped and form == 3:
            signature["scales"] = "*bf16"
        matrix = (("wgmma", "mma.sync") if tiles[0] >= 64 else "mma.sync",)
        return Kernel(path, signature, dict(zip(names, values, strict=True)), warps, stages, aligned, matrix)

    check_compiled(
        [
            kernel(0, "*bf16", (64, 128, 64), False, 4, 3),
            wide((64, 64, 32), 3),
            wide((16, 64, 32), 2),
            kernel(1, "*i8", (16, 64, 128), False, 4, 4),
            kernel(1, "*i8", (128, 128, 64), False, 8, 3),
            kernel(2, "*u8", (16, 64, 128), False, 4, 4),
            kernel(2, "*u8", (128, 128, 64), False, 8, 3),
            kernel(3, "*u8", (16, 64, 64), True, 4, 4),
            kernel(3, "*u8", (128, 64, 128), True, 8, 3),
            kernel(3, "*u8", (64, 128, 128), True, 4, 3),
        ]
    )
    native = [
        kernel(1, "*fp8e4nv", (16, 64, 128), False, 4, 4, whole=False),
        kernel(1, "*fp8e4nv", (64, 128, 128), True, 4, 3),
        kernel(1, "*fp8e4nv", (16, 64, 128), False, 4, 4),
        kernel(1, "*fp8e4nv", (128, 64, 128), True, 8, 3),
    ]
    check_compiled(native, capabilities=(90,))
