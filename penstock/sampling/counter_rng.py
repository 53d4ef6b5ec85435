"""Random numbers as a function of (request seed, position): nothing to store, nothing to lose, no order of calls.

SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), read by index: element
i of the stream that starts at s is mix(s + i * GAMMA). A request's start is its seed put through another mixer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Uint64Array = npt.NDArray[np.uint64]
Float64Array = npt.NDArray[np.float64]

_MASK = (1 << 64) - 1
_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, made odd
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # Stafford's Mix13, as in SplitMix64
_S30, _S27, _S31, _S11 = (np.uint64(n) for n in (30, 27, 31, 11))


def stream_key(seed: int) -> int:
    """Start of a seed's stream: distinct for distinct 64-bit seeds, and far apart for neighbouring ones.

    MurmurHash3's 64-bit finalizer (a bijection), so that seeds s and s + 1 (the children of one request) do not give
    shifted copies of one stream.
    """
    x = (seed + 0x9E3779B97F4A7C15) & _MASK  # keeps seed 0 away from the finalizer's fixed point
    x = ((x ^ (x >> 33)) * 0xFF51AFD7ED558CCD) & _MASK
    x = ((x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53) & _MASK
    return x ^ (x >> 33)


def uniforms(keys_S: Uint64Array, positions_S: npt.NDArray[np.int64]) -> Float64Array:
    """One number in [0, 1) per row, with 53 random bits.

    Args:
        keys_S: `stream_key` of each row's seed.
        positions_S: index in its sequence of the token that the number is for.
    """
    x = keys_S + (positions_S.astype(np.uint64) + np.uint64(1)) * _GAMMA
    x = (x ^ (x >> _S30)) * _MIX_1
    x = (x ^ (x >> _S27)) * _MIX_2
    x ^= x >> _S31
    return (x >> _S11).astype(np.float64) * 2.0**-53
