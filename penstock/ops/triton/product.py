"""x @ weight.T + bias for weights of 16 bits or more, or of 8 or 4 bits that are widened on their way to the product.

Tiles and the order of sums follow from the weight's shape and the number of rows; with `invariant` from the weight's
shape alone, so that a row's bits do not depend on what shares the call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
import triton
import triton.language as tl

# Dimensions in tensor names: T rows, K input features, N output features, G groups of them, S parts of the sums.

PLAIN, BYTES, FP8_BITS, NIBBLES = 0, 1, 2, 3  # how a weight is stored; FP8_BITS: for GPUs that do not know the type
_PROGRAMS = 264  # wanted at least, to read memory at full speed: two for each multiprocessor of the largest GPUs
_FEW = 64  # rows up to which reading the weight is what takes time


@triton.jit(do_not_specialize=["rows"])  # the code, and so the bits, must not depend on the number of rows
def product_kernel(
    x, weight, scales, bias, y, rows, n, k, x_stride, weight_stride, groups, splits,
    form: tl.constexpr, grouped: tl.constexpr, has_bias: tl.constexpr, whole: tl.constexpr,
    tile_rows: tl.constexpr, tile_columns: tl.constexpr, depth: tl.constexpr,
):  # fmt: skip
    """One tile of y, or of one part of its sums: y is then float32 [S, T, N].

    grouped: each `depth` input features of an output have a scale; otherwise, unless PLAIN, all of them share one.
    whole: k is a multiple of `depth`.
    """
    program = tl.program_id(0)
    split = tl.program_id(1)
    row_tiles = tl.cdiv(rows, tile_rows)
    column_tiles = tl.cdiv(n, tile_columns)
    band = 8 * row_tiles  # programs that follow each other share 8 tiles of columns, so that these stay in the L2
    first = program // band * 8
    columns_here = tl.minimum(column_tiles - first, 8)
    row = program % band // columns_here * tile_rows + tl.arange(0, tile_rows)
    column = (first + program % band % columns_here) * tile_columns + tl.arange(0, tile_columns)
    row_in, column_in = row < rows, column < n
    x_start = x + tl.where(row_in, row, 0).to(tl.int64)[:, None] * x_stride
    weight_start = weight + tl.where(column_in, column, 0).to(tl.int64)[None, :] * weight_stride
    steps = tl.cdiv(tl.cdiv(k, depth), splits)
    sums = tl.zeros((tile_rows, tile_columns), tl.float32)
    for step in range(split * steps, tl.minimum(split * steps + steps, tl.cdiv(k, depth))):
        if form == 3:
            half = tl.arange(0, depth // 2)
            low = step * depth + half
            high = low + depth // 2
            pairs = tl.load(weight_start + (step * (depth // 2) + half)[:, None])
            x_low = tl.load(x_start + low[None, :], low[None, :] < k, other=0.0)
            x_high = tl.load(x_start + high[None, :], high[None, :] < k, other=0.0)
            part = tl.dot(x_low, ((pairs & 15).to(tl.int8) - 8).to(x_low.dtype), input_precision="ieee")
            part = tl.dot(x_high, ((pairs >> 4).to(tl.int8) - 8).to(x_low.dtype), part, input_precision="ieee")
        else:
            feature = step * depth + tl.arange(0, depth)
            if whole:
                x_part = tl.load(x_start + feature[None, :])
                numbers = tl.load(weight_start + feature[:, None])
            else:
                x_part = tl.load(x_start + feature[None, :], feature[None, :] < k, other=0.0)
                numbers = tl.load(weight_start + feature[:, None], feature[:, None] < k, other=0.0)
            if form == 1:
                numbers = numbers.to(x_part.dtype)
            if form == 2:
                # The same fields stand in a float32: exponents of 4 bits with a bias of 7, fractions of 3 bits.
                bits = numbers.to(tl.int32)
                fields = ((bits & 128) << 24) | ((bits & 127) << 20)
                numbers = (fields.to(tl.float32, bitcast=True) * 1.329227995784916e36).to(x_part.dtype)  # 2^120
            if grouped:
                part = tl.dot(x_part, numbers, input_precision="ieee")
            else:
                sums = tl.dot(x_part, numbers, sums, input_precision="ieee")
        if grouped:
            scale = tl.load(scales + column.to(tl.int64) * groups + step, column_in, other=0.0).to(tl.float32)
            sums += part * scale[None, :]
    if form != 0 and not grouped:
        sums = sums * tl.load(scales + column, column_in, other=0.0)[None, :]
    if has_bias:
        sums = sums + tl.load(bias + column, column_in, other=0.0).to(tl.float32)[None, :]
    places = (split * rows + row).to(tl.int64)[:, None] * n + column[None, :]
    tl.store(y + places, sums.to(y.dtype.element_ty), row_in[:, None] & column_in[None, :])


@triton.jit
def add_parts_kernel(parts, bias, y, size, n, splits, has_bias: tl.constexpr, block: tl.constexpr):
    """The parts of each sum, one after the other."""
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < size
    total = tl.zeros((block,), tl.float32)
    part = parts + place
    for _ in range(splits):
        total += tl.load(part, inside, other=0.0)
        part += size
    if has_bias:
        total += tl.load(bias + place % n, inside, other=0.0).to(tl.float32)
    tl.store(y + place, total.to(y.dtype.element_ty), inside)


@dataclass(frozen=True)
class Tiles:
    """How one product is cut."""

    rows: int
    columns: int
    depth: int
    splits: int
    warps: int
    stages: int


@cache
def tiles_of(rows: int, n: int, k: int, group: int, wide: bool, invariant: bool) -> Tiles:
    """For `rows` rounded up to a power of two; `wide`: x is float32; `group`: features that share a scale, 0 is all."""
    depth = group or (32 if wide else 64)
    if invariant:
        return Tiles(64, 128 if n >= 16384 and not wide else 64, depth, 1, 4, 3)
    if rows > _FEW:
        return Tiles(64, 64, depth, 1, 4, 2) if wide else Tiles(128, 64 if group else 128, depth, 1, 8, 3)
    if not group and not wide:
        depth = 128
    programs, steps = -(-n // 64), -(-k // depth)
    splits = max(1, min(-(-_PROGRAMS // programs), 8, steps // 4))
    return Tiles(max(16, rows), 64, depth, splits, 4, 2 if wide else 4)


@dataclass(frozen=True)
class Weight:
    """What a product multiplies with.

    Attributes:
        numbers: [N, K]; with NIBBLES uint8 [N, K / 2 of whole groups]: of each group's halves, the first in low bits.
        scales: float32 [N], or of any type [N, G]; None for PLAIN.
        form: how numbers are stored.
        k: input features.
        group: how many share a scale; 0 is all.
    """

    numbers: torch.Tensor
    scales: torch.Tensor | None
    form: int
    k: int
    group: int = 0


def product(
    x_TK: torch.Tensor, weight: Weight, bias_N: torch.Tensor | None, out_dtype: torch.dtype, invariant: bool
) -> torch.Tensor:
    """[T, N] of `out_dtype`."""
    rows, n = x_TK.shape[0], weight.numbers.shape[0]
    y_TN = torch.empty(rows, n, dtype=out_dtype, device=x_TK.device)
    if not rows:
        return y_TN
    if x_TK.stride(1) != 1:
        x_TK = x_TK.contiguous()
    wide = x_TK.dtype is torch.float32
    tiles = tiles_of(triton.next_power_of_2(rows), n, weight.k, weight.group, wide, invariant)
    split = tiles.splits > 1
    parts = torch.empty(tiles.splits, rows, n, dtype=torch.float32, device=x_TK.device) if split else y_TN
    grid = (triton.cdiv(rows, tiles.rows) * triton.cdiv(n, tiles.columns), tiles.splits)
    product_kernel[grid](
        x_TK,
        weight.numbers,
        weight.numbers if weight.scales is None else weight.scales,
        weight.numbers if bias_N is None else bias_N,
        parts,
        rows,
        n,
        weight.k,
        x_TK.stride(0),
        weight.numbers.stride(0),
        1 if weight.scales is None or weight.scales.dim() == 1 else weight.scales.shape[1],
        tiles.splits,
        weight.form,
        weight.group > 0,
        bias_N is not None and not split,
        weight.k % tiles.depth == 0,
        tiles.rows,
        tiles.columns,
        tiles.depth,
        num_warps=tiles.warps,
        num_stages=tiles.stages,
    )
    if split:
        size, block = rows * n, 1024
        biased = weight.numbers if bias_N is None else bias_N
        add_parts_kernel[(triton.cdiv(size, block),)](
            parts, biased, y_TN, size, n, tiles.splits, bias_N is not None, block
        )
    return y_TN


def plain_product(
    x_TK: torch.Tensor, weight_NK: torch.Tensor, bias_N: torch.Tensor | None, out_dtype: torch.dtype
) -> torch.Tensor:
    """x @ weight.T + bias, whose rows have the same bits in any batch: [T, N] of `out_dtype`."""
    return product(x_TK, Weight(weight_NK, None, PLAIN, weight_NK.shape[1]), bias_N, out_dtype, True)


Product = Callable[[torch.Tensor, torch.Tensor | None, torch.dtype, bool], torch.Tensor]


def narrow_product(numbers: torch.Tensor, scales_NG: torch.Tensor, k: int, group: int, bits: int) -> Product:
    """The product with one weight: (x, bias, type of the result, whether it is invariant) -> x @ weight.T + bias.

    Args:
        numbers: int8, float8_e4m3fn, or uint8 for the bytes of float8_e4m3fn or for pairs of 4 bits.
        group: how many input features share a scale; 0 is all.
    """
    form = NIBBLES if bits == 4 else FP8_BITS if numbers.dtype is torch.uint8 else BYTES
    return partial(_narrow, Weight(numbers, scales_NG if group else scales_NG.view(-1), form, k, group))


def _narrow(
    weight: Weight, x_TK: torch.Tensor, bias_N: torch.Tensor | None, out_dtype: torch.dtype, invariant: bool
) -> torch.Tensor:
    return product(x_TK, weight, bias_N, out_dtype, invariant)
