"""The Triton kernel before attention: norms and rotation of heads, and keys and values into their blocks.

Its twin is `rms_norm`, `rotate` and the store of `torch_paged.py`; codes of 8 bits are those of csrc/kv_codes.h.
"""

from __future__ import annotations

import triton
import triton.language as tl

from penstock.attention.triton_attend import E4M3, E5M2, INT8

TO_WHOLE = tl.constexpr(12582912.0)  # 1.5 * 2^23: added to a small number, it leaves no bits for fractions


@triton.jit
def _float8(x, MANTISSA: tl.constexpr, BIAS: tl.constexpr):
    """To nearest, ties to even; what would be subnormal becomes 0."""
    bits = x.to(tl.int32, bitcast=True)
    sign = (bits >> 24) & 0x80
    DROP: tl.constexpr = 23 - MANTISSA
    size = bits & 0x7FFFFFFF
    size = (size + ((1 << (DROP - 1)) - 1) + ((size >> DROP) & 1)) >> DROP
    REBIAS: tl.constexpr = (127 - BIAS) << MANTISSA
    return tl.where(size < REBIAS + (1 << MANTISSA), 0, sign | (size - REBIAS)).to(tl.uint8)


@triton.jit
def store_kernel(
    qkv_ptr,
    q_ptr,
    kv_ptr,
    scales_ptr,
    q_weight_ptr,
    k_weight_ptr,
    cos_ptr,
    sin_ptr,
    slots_ptr,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_P: tl.constexpr,
    HALF: tl.constexpr,
    PAGE: tl.constexpr,
    NORMS: tl.constexpr,
    CODE: tl.constexpr,
    LARGEST: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Some heads of one token: queries go to q, keys and values to the token's place. Grid: (T, heads / BLOCK_H).

    Queries are not written where they were read: another thread may still need them for its half of the rotation.
    """
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * BLOCK_H + tl.arange(0, BLOCK_H)
    dim = tl.arange(0, DIM_P)
    partner = tl.where(dim < HALF, dim + HALF, tl.where(dim < 2 * HALF, dim - HALF, dim))
    real = (head < HEADS + 2 * KV_HEADS)[:, None] & (dim < DIM)[None, :]
    from_ptr = qkv_ptr + token * ((HEADS + 2 * KV_HEADS) * DIM) + head[:, None] * DIM
    x_in = tl.load(from_ptr + dim[None, :], mask=real, other=0)
    x = x_in.to(tl.float32)
    y = tl.load(from_ptr + partner[None, :], mask=real, other=0).to(tl.float32)
    is_query = (head < HEADS)[:, None]
    is_value = (head >= HEADS + KV_HEADS)[:, None]
    turned_x, turned_y = x, y
    if NORMS:
        dtype: tl.constexpr = qkv_ptr.dtype.element_ty
        scale = tl.rsqrt(tl.sum(x * x, 1) / DIM + eps)[:, None]
        for_q = tl.load(q_weight_ptr + dim, mask=dim < DIM, other=0).to(tl.float32)
        for_k = tl.load(k_weight_ptr + dim, mask=dim < DIM, other=0).to(tl.float32)
        weight = tl.where(is_query, for_q[None, :], for_k[None, :])
        turned_x = ((x * scale).to(dtype).to(tl.float32) * weight).to(dtype).to(tl.float32)
        for_q = tl.load(q_weight_ptr + partner, mask=dim < DIM, other=0).to(tl.float32)
        for_k = tl.load(k_weight_ptr + partner, mask=dim < DIM, other=0).to(tl.float32)
        weight = tl.where(is_query, for_q[None, :], for_k[None, :])
        turned_y = ((y * scale).to(dtype).to(tl.float32) * weight).to(dtype).to(tl.float32)
    if HALF > 0:
        angle = token * HALF + dim % HALF
        cos = tl.load(cos_ptr + angle, mask=dim < 2 * HALF, other=1.0)[None, :]
        sin = tl.load(sin_ptr + angle, mask=dim < 2 * HALF, other=0.0)[None, :]
        across = turned_y * sin
        turned_x = turned_x * cos + tl.where((dim < HALF)[None, :], -across, across)
    x = tl.where(is_value, x, turned_x).to(x_in.dtype)
    tl.store(q_ptr + (token * HEADS + head[:, None]) * DIM + dim[None, :], x, mask=real & is_query)

    # What is not finite becomes 0: one request's overflow must not reach the next owner of its blocks as 0 * inf.
    x = x.to(tl.float32)
    x = tl.where(tl.abs(x) < float("inf"), x, 0.0)
    slot = tl.load(slots_ptr + token)
    place = (slot // PAGE * (2 * KV_HEADS) + (head - HEADS)) * PAGE + slot % PAGE
    kept = real & (head >= HEADS)[:, None]
    to_ptr = kv_ptr + place[:, None] * DIM + dim[None, :]
    if CODE == 0:
        x = tl.minimum(tl.maximum(x, -LARGEST), LARGEST)
        tl.store(to_ptr, x.to(kv_ptr.dtype.element_ty), mask=kept)
    else:
        most = tl.max(tl.abs(x), 1)
        small = most <= 1e-30
        x = x * tl.where(small, 0.0, LARGEST / tl.where(small, 1.0, most))[:, None]
        if CODE == E4M3:
            tl.store(to_ptr, _float8(x, 3, 7), mask=kept)
        elif CODE == E5M2:
            tl.store(to_ptr, _float8(x, 2, 15), mask=kept)
        else:
            tl.static_assert(CODE == INT8)
            tl.store(to_ptr, ((x + TO_WHOLE) - TO_WHOLE).to(tl.int8), mask=kept)
        tl.store(scales_ptr + place, most / LARGEST, mask=(head >= HEADS) & (head < HEADS + 2 * KV_HEADS))
