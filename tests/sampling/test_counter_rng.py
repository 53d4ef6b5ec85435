"""Random numbers are a function of (seed, position), and look random along both."""

from __future__ import annotations

import numpy as np

from penstock.sampling.counter_rng import stream_key, uniforms


def chi_square(values: np.ndarray, bins: int) -> float:
    counts = np.histogram(values, bins=bins, range=(0, 1))[0]
    expected = len(values) / bins
    return float(((counts - expected) ** 2 / expected).sum())


def keys(seeds: range) -> np.ndarray:
    return np.array([stream_key(s) for s in seeds], np.uint64)


def test_numbers_do_not_depend_on_the_batch() -> None:
    some = keys(range(-5, 45))
    positions = np.arange(50) * 7
    together = uniforms(some, positions)
    alone = np.concatenate([uniforms(some[i : i + 1], positions[i : i + 1]) for i in range(50)])
    assert together.tobytes() == alone.tobytes()
    assert ((together >= 0) & (together < 1)).all()


def test_known_value_of_splitmix64() -> None:
    """The first output of SplitMix64 from state 0 is 0xE220A8397B1DCDAF."""
    number = uniforms(np.zeros(1, np.uint64), np.zeros(1, np.int64))[0]
    assert number == (0xE220A8397B1DCDAF >> 11) * 2.0**-53


def test_uniform_along_positions_and_along_neighbouring_seeds() -> None:
    n, bins = 100_000, 100  # chi-square with 99 degrees of freedom: mean 99, deviation 14
    along_positions = uniforms(keys(range(7, 8)).repeat(n), np.arange(n))
    along_seeds = uniforms(keys(range(n)), np.full(n, 31))
    for values in (along_positions, along_seeds):
        assert 40 < chi_square(values, bins) < 170
        assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.02


def test_seeds_give_different_streams() -> None:
    assert len({stream_key(s) for s in range(-1000, 1000)}) == 2000
    assert stream_key(0) != 0
    # The children of one request have seeds s, s + 1, ...: none may be another's stream, shifted.
    streams = [set(uniforms(keys(range(s, s + 1)).repeat(500), np.arange(500)).tolist()) for s in range(20)]
    assert len(set.union(*streams)) == 20 * 500
