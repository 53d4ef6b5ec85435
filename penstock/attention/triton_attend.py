"""The Triton kernels that attend over paged keys and values: one for all steps, one that joins the parts of a row.

Online softmax (https://arxiv.org/abs/1805.02867) in float32. The query heads that share a key/value head are rows of
one tile: a key is read once for all of them. `triton_paged.py` tells how memory lies; it chooses sizes and launches.
"""

from __future__ import annotations

import triton
import triton.language as tl

NEVER = tl.constexpr(-1.0e30)  # running maximum before any key was seen; finite, so that nothing seen changes nothing
LARGEST_HALF = tl.constexpr(65504.0)

# Codes of 8 bits.
E4M3 = tl.constexpr(1)
E5M2 = tl.constexpr(2)
INT8 = tl.constexpr(3)


@triton.jit
def _decoded(x, CODE: tl.constexpr, NATIVE: tl.constexpr, COMPUTE: tl.constexpr):
    """Stored numbers in the type of products; e4m3 without NATIVE comes out as a 256th of its value."""
    if CODE == INT8:
        return x.to(COMPUTE)
    if CODE == E4M3:
        if NATIVE:
            return x.to(tl.float8e4nv, bitcast=True).to(tl.float16).to(COMPUTE)
        wide = x.to(tl.int8, bitcast=True).to(tl.int16)
        return ((wide << 7) & -16385).to(tl.float16, bitcast=True).to(COMPUTE)
    if CODE == E5M2:
        if NATIVE:
            return x.to(tl.float8e5, bitcast=True).to(tl.float16).to(COMPUTE)
        return (x.to(tl.int16) << 8).to(tl.float16, bitcast=True).to(COMPUTE)
    return x.to(COMPUTE)


@triton.jit
def _over_keys(
    q,
    q_factor_M,
    place_M,
    kv_ptr,
    scales_ptr,
    table_ptr,
    kv_head,
    context,
    first_key,
    end_key,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_P: tl.constexpr,
    PAGE: tl.constexpr,
    WINDOW: tl.constexpr,
    CAUSAL: tl.constexpr,
    CODE: tl.constexpr,
    LARGEST: tl.constexpr,
    NATIVE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """(maxima, sums of weights, weighted sums of values) of the tile's rows over some of the keys."""
    PRECISION: tl.constexpr = "ieee" if tl.float32 == COMPUTE else "tf32"
    highest_M = tl.full([BLOCK_M], NEVER, tl.float32)
    weight_M = tl.zeros([BLOCK_M], tl.float32)
    sum_MD = tl.zeros([BLOCK_M, DIM_P], tl.float32)
    dim = tl.arange(0, DIM_P)
    for start in range(first_key, end_key, BLOCK_N):
        key = start + tl.arange(0, BLOCK_N)
        # Keys beyond the context are those of the null block or of earlier owners: finite numbers, of weight 0.
        page = tl.load(table_ptr + key // PAGE, mask=key < context, other=0).to(tl.int64)
        token = (page * (2 * KV_HEADS) + kv_head) * PAGE + key % PAGE
        k_at = kv_ptr + token[None, :] * DIM + dim[:, None]
        v_at = kv_ptr + KV_HEADS * PAGE * DIM + token[:, None] * DIM + dim[None, :]
        if DIM == DIM_P:
            k = tl.load(k_at)
            v = tl.load(v_at)
        else:
            k = tl.load(k_at, mask=dim[:, None] < DIM, other=0)
            v = tl.load(v_at, mask=dim[None, :] < DIM, other=0)
        score = tl.dot(q, _decoded(k, CODE, NATIVE, COMPUTE), input_precision=PRECISION) * q_factor_M[:, None]
        if CODE != 0:
            score *= tl.load(scales_ptr + token)[None, :]
        seen = (key < context)[None, :]
        if CAUSAL:
            seen = key[None, :] <= place_M[:, None]
        if WINDOW > 0:
            seen = seen & (key[None, :] > place_M[:, None] - WINDOW)
            if not CAUSAL:
                seen = seen & (key[None, :] < place_M[:, None] + WINDOW)
        score = tl.where(seen, score, float("-inf"))
        new_M = tl.maximum(highest_M, tl.max(score, 1))
        p = tl.exp2(score - new_M[:, None])
        fade_M = tl.exp2(highest_M - new_M)
        weight_M = weight_M * fade_M + tl.sum(p, 1)
        sum_MD = sum_MD * fade_M[:, None]
        if CODE != 0:
            v_scale = tl.load(scales_ptr + KV_HEADS * PAGE + token) * LARGEST
            if tl.float16 == COMPUTE:  # which holds the product: it is at most the largest of the token's values
                v_scale = tl.minimum(v_scale, LARGEST_HALF)
            p = p * v_scale[None, :]
        sum_MD = tl.dot(p.to(COMPUTE), _decoded(v, CODE, NATIVE, COMPUTE), sum_MD, input_precision=PRECISION)
        highest_M = new_M
    return highest_M, weight_M, sum_MD


@triton.jit
def _seen_keys(
    first_place,
    last_place,
    context,
    WINDOW: tl.constexpr,
    CAUSAL: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """(first, end) of the keys that tokens at these places see, from the start of a tile on."""
    first = 0
    end = context
    if WINDOW > 0:
        first = tl.maximum(first_place - WINDOW + 1, 0) // BLOCK_N * BLOCK_N
        if not CAUSAL:
            end = tl.minimum(context, last_place + WINDOW)
    if CAUSAL:
        end = last_place + 1
    return first, end


@triton.jit
def _row_of_tile(tile, starts_ptr, num_rows, BLOCK_Q: tl.constexpr):
    """(batch row, which of its tiles) of a tile of the grid; row r's begin at starts[r] // BLOCK_Q + r."""
    low = 0
    high = num_rows
    while low < high:
        middle = (low + high) // 2
        if tl.load(starts_ptr + middle) // BLOCK_Q + middle <= tile:
            low = middle + 1
        else:
            high = middle
    row = low - 1
    return row, tile - tl.load(starts_ptr + row) // BLOCK_Q - row


# fmt: off
@triton.jit(do_not_specialize=["table_stride", "num_rows", "parts", "num_segments"])
def attend_kernel(
    q_ptr, out_ptr, part_sums_ptr, part_weights_ptr, kv_ptr, scales_ptr, tables_ptr, starts_ptr, contexts_ptr,
    table_stride, num_rows, parts, num_segments, score_factor, out_factor,
    ONE_TOKEN: tl.constexpr, SPLIT: tl.constexpr, SEGMENT: tl.constexpr, HEADS: tl.constexpr, KV_HEADS: tl.constexpr,
    DIM: tl.constexpr, DIM_P: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr, CAUSAL: tl.constexpr,
    CODE: tl.constexpr, LARGEST: tl.constexpr, NATIVE: tl.constexpr, COMPUTE_BITS: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):
    """One tile of query rows over its keys, or over a part of them.

    Grid: (rows, G, parts) with ONE_TOKEN, for the rows of one token; else (T // BLOCK_Q + rows, G) for the others.
    Without SEGMENT a part is a share of the row's own context. With it, keys are cut at its multiples wherever they are
    computed, and the pieces joined in their order: with SPLIT by `join_kernel`, else here. COMPUTE_BITS is the type of
    the products' factors: 16 for float16, 32 for float32, 0 for that of the queries.
    """
    COMPUTE: tl.constexpr = (
        tl.float16 if COMPUTE_BITS == 16 else tl.float32 if COMPUTE_BITS == 32 else q_ptr.dtype.element_ty
    )
    GROUP: tl.constexpr = HEADS // KV_HEADS
    BLOCK_Q: tl.constexpr = 1 if ONE_TOKEN else BLOCK_M // GROUP
    kv_head, part = tl.program_id(1), tl.program_id(2)
    row, tile = tl.program_id(0), 0
    if not ONE_TOKEN:
        row, tile = _row_of_tile(tl.num_programs(0) - 1 - row, starts_ptr, num_rows, BLOCK_Q)  # the longest first
    row_start = tl.load(starts_ptr + row)
    query_len = tl.load(starts_ptr + row + 1) - row_start
    first_token = tile * BLOCK_Q
    if (query_len == 1) != ONE_TOKEN or first_token >= query_len:
        return
    context = tl.load(contexts_ptr + row)
    before = context - query_len

    m, dim = tl.arange(0, BLOCK_M), tl.arange(0, DIM_P)
    token_M, head_M = first_token + m // GROUP, kv_head * GROUP + m % GROUP
    real_M = (m < BLOCK_Q * GROUP) & (token_M < query_len)
    real_MD = real_M[:, None] & (dim < DIM)[None, :]
    at_MD = ((row_start + token_M).to(tl.int64) * HEADS + head_M)[:, None] * DIM + dim[None, :]
    q = tl.load(q_ptr + at_MD, mask=real_MD, other=0)
    q_factor_M = tl.full([BLOCK_M], 1.0, tl.float32) * score_factor
    if CODE != 0:  # a half float must hold them
        most_M = tl.maximum(tl.max(tl.abs(q.to(tl.float32)), 1), 1e-30)
        q = q.to(tl.float32) / most_M[:, None]
        q_factor_M = most_M * score_factor
    q = q.to(COMPUTE)

    last_token = tl.minimum(first_token + BLOCK_Q, query_len) - 1
    first_key, end_key = _seen_keys(before + first_token, before + last_token, context, WINDOW, CAUSAL, BLOCK_N)
    table_ptr = tables_ptr + row.to(tl.int64) * table_stride
    index_M = (row * HEADS + head_M).to(tl.int64) * num_segments
    if SEGMENT == 0:
        if SPLIT:
            share = tl.cdiv(tl.cdiv(end_key - first_key, BLOCK_N), parts) * BLOCK_N
            first_key = first_key + part * share
            end_key = tl.minimum(end_key, first_key + share)
            if first_key >= end_key:
                return
        highest_M, weight_M, sum_MD = _over_keys(
            q, q_factor_M, before + token_M, kv_ptr, scales_ptr, table_ptr, kv_head, context, first_key, end_key,
            KV_HEADS, DIM, DIM_P, PAGE, WINDOW, CAUSAL, CODE, LARGEST, NATIVE, COMPUTE, BLOCK_M, BLOCK_N,
        )
        if SPLIT:
            _write_part(part_sums_ptr, part_weights_ptr, index_M + part, real_M, highest_M, weight_M, sum_MD, DIM_P)
    else:
        weight_M, sum_MD = _over_segments(
            q, q_factor_M, before + token_M, kv_ptr, scales_ptr, table_ptr, kv_head, context, first_key, end_key,
            part_sums_ptr, part_weights_ptr, index_M, real_M, part, parts, SPLIT, SEGMENT,
            KV_HEADS, DIM, DIM_P, PAGE, WINDOW, CAUSAL, CODE, LARGEST, NATIVE, COMPUTE, BLOCK_M, BLOCK_N,
        )
    if not SPLIT:
        some_M = tl.where(weight_M > 0, weight_M, 1.0)  # rows of a graph beyond the real ones see nothing
        out_MD = sum_MD / some_M[:, None] * out_factor
        tl.store(out_ptr + at_MD, out_MD.to(out_ptr.dtype.element_ty), mask=real_MD)


@triton.jit
def _over_segments(
    q, q_factor_M, place_M, kv_ptr, scales_ptr, table_ptr, kv_head, context, first_key, end_key,
    part_sums_ptr, part_weights_ptr, index_M, real_M, part, parts, SPLIT: tl.constexpr, SEGMENT: tl.constexpr,
    KV_HEADS: tl.constexpr, DIM: tl.constexpr, DIM_P: tl.constexpr, PAGE: tl.constexpr, WINDOW: tl.constexpr,
    CAUSAL: tl.constexpr, CODE: tl.constexpr, LARGEST: tl.constexpr, NATIVE: tl.constexpr, COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):
    """The keys segment by segment: every `parts`-th one from `part` on is written with SPLIT, else all are joined."""
    highest_M = tl.full([BLOCK_M], NEVER, tl.float32)
    weight_M = tl.zeros([BLOCK_M], tl.float32)
    sum_MD = tl.zeros([BLOCK_M, DIM_P], tl.float32)
    first_segment = first_key // SEGMENT
    for segment in range(first_segment + part, tl.cdiv(end_key, SEGMENT), parts):
        highest, weight, sums = _over_keys(
            q, q_factor_M, place_M, kv_ptr, scales_ptr, table_ptr, kv_head, context,
            tl.maximum(first_key, segment * SEGMENT), tl.minimum(end_key, (segment + 1) * SEGMENT),
            KV_HEADS, DIM, DIM_P, PAGE, WINDOW, CAUSAL, CODE, LARGEST, NATIVE, COMPUTE, BLOCK_M, BLOCK_N,
        )
        if SPLIT:
            index = index_M + (segment - first_segment)
            _write_part(part_sums_ptr, part_weights_ptr, index, real_M, highest, weight, sums, DIM_P)
        else:
            new_M = tl.maximum(highest_M, highest)
            old_fade, fade = tl.exp2(highest_M - new_M), tl.exp2(highest - new_M)
            weight_M = weight_M * old_fade + weight * fade
            sum_MD = sum_MD * old_fade[:, None] + sums * fade[:, None]
            highest_M = new_M
    return weight_M, sum_MD
# fmt: on


@triton.jit
def _write_part(part_sums_ptr, part_weights_ptr, index_M, real_M, highest_M, weight_M, sum_MD, DIM_P: tl.constexpr):
    sums_at = part_sums_ptr + index_M[:, None] * DIM_P + tl.arange(0, DIM_P)[None, :]
    tl.store(sums_at, sum_MD, mask=real_M[:, None])
    tl.store(part_weights_ptr + index_M * 2, highest_M, mask=real_M)
    tl.store(part_weights_ptr + index_M * 2 + 1, weight_M, mask=real_M)


@triton.jit(do_not_specialize=["parts", "num_segments"])
def join_kernel(
    out_ptr,
    part_sums_ptr,
    part_weights_ptr,
    starts_ptr,
    contexts_ptr,
    parts,
    num_segments,
    out_factor,
    SEGMENT: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    DIM_P: tl.constexpr,
    WINDOW: tl.constexpr,
    CAUSAL: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Joins the parts of rows that run one token, in their order. Grid: (rows, H)."""
    row, head = tl.program_id(0), tl.program_id(1)
    row_start = tl.load(starts_ptr + row)
    if tl.load(starts_ptr + row + 1) - row_start != 1:
        return
    context = tl.load(contexts_ptr + row)
    first_key, end_key = _seen_keys(context - 1, context - 1, context, WINDOW, CAUSAL, BLOCK_N)
    if SEGMENT == 0:
        share = tl.maximum(tl.cdiv(tl.cdiv(end_key - first_key, BLOCK_N), parts), 1) * BLOCK_N
        count = tl.cdiv(end_key - first_key, share)
    else:
        count = tl.cdiv(end_key, SEGMENT) - first_key // SEGMENT
    dim = tl.arange(0, DIM_P)
    index = (row * HEADS + head).to(tl.int64) * num_segments
    # Vectors, not scalars: as in attend_kernel, for the same bits.
    highest_D = tl.full([DIM_P], NEVER, tl.float32)
    weight_D = tl.zeros([DIM_P], tl.float32)
    sum_D = tl.zeros([DIM_P], tl.float32)
    for i in range(count):
        sums = tl.load(part_sums_ptr + (index + i) * DIM_P + dim)
        highest = tl.load(part_weights_ptr + (index + i) * 2 + dim * 0)
        weight = tl.load(part_weights_ptr + (index + i) * 2 + 1 + dim * 0)
        new_D = tl.maximum(highest_D, highest)
        old_fade, fade = tl.exp2(highest_D - new_D), tl.exp2(highest - new_D)
        weight_D = weight_D * old_fade + weight * fade
        sum_D = sum_D * old_fade + sums * fade
        highest_D = new_D
    out = sum_D / tl.where(weight_D > 0, weight_D, 1.0) * out_factor
    at = (row_start.to(tl.int64) * HEADS + head) * DIM + dim
    tl.store(out_ptr + at, out.to(out_ptr.dtype.element_ty), mask=dim < DIM)
