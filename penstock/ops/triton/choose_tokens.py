"""One token per row of logits, as `ops/choose_tokens.py` tells, without sorting: a program reads its row some times.

The head that top_k and top_p keep ends at a value, found by narrowing its place down among all float32 numbers, and
among equal values at an id.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_BLOCK = 2048
_NO_VALUE = tl.constexpr(-(1 << 31))  # below the key of every number


@triton.jit
def key_of(x):
    """Whole numbers in the order of float32 numbers; both zeros have the same."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def value_of(key):
    """The number with this key."""
    return tl.where(key < 0, key ^ 0x7FFFFFFF, key).to(tl.float32, bitcast=True)


@triton.jit
def weight_of(x, largest, temperature, min_p):
    """The share of the largest probability that a token has, 0 if that is below `min_p`."""
    weight = tl.exp((x - largest) / temperature)
    return tl.where(weight >= min_p, weight, 0.0)


@triton.jit
def sums_from(logits, keys, by_count, largest, temperature, min_p, width, block: tl.constexpr):
    """float64 [8]: the weights, or the number, of the tokens whose key is each of `keys` or more."""
    sums = tl.zeros((8, block), tl.float32)
    for first in tl.range(0, width, block, num_stages=3):
        token = first + tl.arange(0, block)
        x = tl.load(logits + token, token < width, other=float("-inf"))
        amount = tl.where(by_count, 1.0, weight_of(x, largest, temperature, min_p))
        amount = tl.where(token < width, amount, 0.0)
        sums += tl.where(key_of(x)[None, :] >= keys[:, None], amount[None, :], 0.0)
    return tl.sum(sums.to(tl.float64), 1)


@triton.jit
def sum_from(logits, key, by_count, largest, temperature, min_p, width, block: tl.constexpr):
    """The same for one key."""
    keys = tl.zeros((8,), tl.int64) + key
    return tl.max(sums_from(logits, keys, by_count, largest, temperature, min_p, width, block), 0)


@triton.jit
def last_key(logits, lowest, wanted, by_count, largest, temperature, min_p, width, block: tl.constexpr):
    """The largest key from which on the weights, or the number, of tokens come to `wanted`; at least `lowest`."""
    low = lowest
    high = key_of(largest).to(tl.int64) + 1
    while high - low > 1:
        keys = low + (high - low) * (tl.arange(0, 8) + 1) // 9
        enough = sums_from(logits, keys, by_count, largest, temperature, min_p, width, block) >= wanted
        low = tl.max(tl.where(enough, keys, low), 0)
        high = tl.min(tl.where(enough | (keys <= low), high, keys), 0)
    return low


@triton.jit
def kept_weights(logits, first, last, ties, seen, largest, temperature, min_p, width, block: tl.constexpr):
    """(weights of one block's tokens that are kept, how many tokens up to its end have the last key)."""
    token = first + tl.arange(0, block)
    x = tl.load(logits + token, token < width, other=float("-inf"))
    key = key_of(x).to(tl.int64)
    is_last = ((key == last) & (token < width)).to(tl.int32)
    place = seen + tl.cumsum(is_last, 0)
    kept = (token < width) & ((key > last) | ((key == last) & (place <= ties)))
    weights = tl.where(kept, weight_of(x, largest, temperature, min_p), 0.0)
    return weights, seen + tl.sum(is_last, 0)


@triton.jit
def draw(logits, last, ties, uniform, largest, temperature, min_p, width, block: tl.constexpr):
    """Where the running sums of the kept weights first exceed a share of their total."""
    total = tl.zeros((), tl.float64)
    seen = tl.zeros((), tl.int32)
    for first in range(0, width, block):
        weights, seen = kept_weights(logits, first, last, ties, seen, largest, temperature, min_p, width, block)
        total += tl.sum(weights, 0).to(tl.float64)
    target = uniform * total
    below = tl.zeros((), tl.float64)
    seen = tl.zeros((), tl.int32)
    found_at = tl.zeros((), tl.int32)
    found_seen = tl.zeros((), tl.int32)
    share = tl.zeros((), tl.float64)
    for first in range(0, width, block):
        before = seen
        weights, seen = kept_weights(logits, first, last, ties, seen, largest, temperature, min_p, width, block)
        sum_here = tl.sum(weights, 0).to(tl.float64)
        # The last block that begins at or before the target, of those that hold anything.
        here = (below <= target) & (sum_here > 0)
        found_at = tl.where(here, first, found_at)
        found_seen = tl.where(here, before, found_seen)
        share = tl.where(here, (target - below) / sum_here, share)
        below += sum_here
    share = tl.minimum(share, 1.0 - 1.1102230246251565e-16)  # 2^-53
    weights, seen = kept_weights(logits, found_at, last, ties, found_seen, largest, temperature, min_p, width, block)
    running = tl.cumsum(weights.to(tl.float64), 0)
    inside = tl.sum((running <= share * tl.max(running, 0)).to(tl.int32), 0)
    return tl.where(total > 0, found_at + tl.minimum(inside, block - 1), -1)


@triton.jit
def head(logits, top_k, top_p, largest, temperature, min_p, width, block: tl.constexpr):
    """(last key, how many of the tokens with it are kept) of what top_k and top_p keep."""
    last = tl.full((), _NO_VALUE, tl.int64)
    ties = tl.zeros((), tl.int32) + width
    whole = tl.zeros((), tl.float64)
    if top_k > 0:
        wanted = top_k.to(tl.float64)
        last = last_key(logits, last, wanted, True, largest, temperature, min_p, width, block)
        above = sum_from(logits, last + 1, True, largest, temperature, min_p, width, block)
        ties = (wanted - above).to(tl.int32)
        at_last = weight_of(value_of(last.to(tl.int32)), largest, temperature, min_p)
        whole = tl.where(at_last > 0, at_last, 0.0).to(tl.float64) * ties.to(tl.float64)
    if top_p < 1:
        whole += sum_from(logits, last + 1, False, largest, temperature, min_p, width, block)
        limit = top_p * whole
        cut = last_key(logits, last, limit, False, largest, temperature, min_p, width, block)
        above = sum_from(logits, cut + 1, False, largest, temperature, min_p, width, block)
        at_cut = weight_of(value_of(cut.to(tl.int32)), largest, temperature, min_p).to(tl.float64)
        needed = tl.where(at_cut > 0, tl.minimum(tl.maximum(tl.ceil((limit - above) / at_cut), 1.0), width), width)
        ties = tl.where(cut == last, tl.minimum(needed.to(tl.int32), ties), needed.to(tl.int32))
        last = cut
    return last, ties


@triton.jit
def choose_kernel(logits, temperatures, min_ps, top_ks, top_ps, uniforms, tokens, width, block: tl.constexpr):
    row = tl.program_id(0)
    logits += row.to(tl.int64) * width
    best = tl.full((block,), float("-inf"), tl.float32)
    best_token = tl.zeros((block,), tl.int32)
    unordered = tl.zeros((block,), tl.int32)
    for first in tl.range(0, width, block, num_stages=3):
        token = first + tl.arange(0, block)
        x = tl.load(logits + token, token < width, other=float("-inf"))
        unordered |= (x != x).to(tl.int32)
        best_token = tl.where(x > best, token, best_token)
        best = tl.where(x > best, x, best)
    largest = tl.max(best, 0)
    finite = (tl.max(unordered, 0) == 0) & (largest > float("-inf")) & (largest < float("inf"))
    chosen = tl.where(finite, tl.min(tl.where(best == largest, best_token, 2147483647), 0), -1)
    temperature = tl.load(temperatures + row)
    if finite & (temperature != 0):
        top_k, top_p, min_p = tl.load(top_ks + row), tl.load(top_ps + row), tl.load(min_ps + row)
        last, ties = head(logits, top_k, top_p, largest, temperature, min_p, width, block)
        chosen = draw(logits, last, ties, tl.load(uniforms + row), largest, temperature, min_p, width, block)
    tl.store(tokens + row, chosen.to(tl.int64))


def choose_tokens(
    logits_RV: torch.Tensor,
    temperature_R: torch.Tensor,
    min_p_R: torch.Tensor,
    top_k_R: torch.Tensor,
    top_p_R: torch.Tensor,
    uniform_R: torch.Tensor,
) -> torch.Tensor:
    """int64 [R]; the arguments as in `Choice`, contiguous, where the logits lie."""
    rows, width = logits_RV.shape
    tokens_R = torch.empty(rows, dtype=torch.int64, device=logits_RV.device)
    if rows:
        columns = (temperature_R, min_p_R, top_k_R, top_p_R, uniform_R)
        choose_kernel[(rows,)](logits_RV, *columns, tokens_R, width, _BLOCK, num_warps=8)
    return tokens_R
