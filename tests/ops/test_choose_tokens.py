"""Kernel and twin choose what a float64 softmax says, on every instruction set here, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sampling_twin import distribution

from penstock.ops import kernels
from penstock.ops.choose_tokens import NO_TOKEN, Choice, choose_tokens, choose_tokens_twin
from penstock.params import SamplingParams

SIZES = (1, 3, 127, 128, 129, 1000, 9001)
SETTINGS: list[dict] = [
    {},
    {"temperature": 0.3},
    {"temperature": 1.7, "min_p": 0.1},
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": 500, "min_p": 0.01},
    {"top_p": 0.2},
    {"top_p": 0.95},
    {"top_p": 0.9999, "temperature": 2.0},
    {"top_p": 0.9, "top_k": 6, "min_p": 0.05},
    {"top_p": 0.9, "min_p": 0.02},
]
NEAR = 2e-6  # how close to a step of the running sum float32 weights may be on its other side


def logits_of(rows: int, vocab_size: int, kind: str) -> torch.Tensor:
    """`kind`: "fine"; "ties" as bfloat16 heads have; "flat" within a few thousandths, "peaked" on a few tokens."""
    x = torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(vocab_size)) * 2
    if kind == "flat":
        return x * 1e-3 + 7
    if kind == "peaked":
        x[:, :: max(1, vocab_size // 5)] += 12
    return x.bfloat16().float() if kind == "ties" else x


def choice_of(rows: int, uniform: np.ndarray | float = 0.5, **params: float) -> Choice:
    known = SamplingParams(max_tokens=None, **params)
    return Choice(
        torch.full((rows,), known.temperature),
        torch.full((rows,), known.min_p),
        torch.full((rows,), known.top_k, dtype=torch.int64),
        torch.full((rows,), known.top_p, dtype=torch.float64),
        torch.as_tensor(uniform, dtype=torch.float64).expand(rows).contiguous(),
    )


def check_draws(choose: Callable, row: torch.Tensor, params: dict) -> None:
    """Every token of a fine grid of uniform numbers is where the running sum of the float64 probabilities says."""
    count = 300
    uniform = (np.arange(count) + 0.5) / count
    got = choose(row.expand(count, -1).contiguous(), choice_of(count, uniform, **params)).numpy()
    wanted = distribution(row.numpy(), SamplingParams(max_tokens=None, **params))
    cdf = np.cumsum(wanted)
    assert (wanted[got] > 0).all()
    below, above = cdf[got] - wanted[got], cdf[got]
    assert (below <= uniform + NEAR).all()
    assert (uniform <= above + NEAR).all()


@pytest.mark.parametrize("params", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["fine", "ties", "flat", "peaked"])
def test_draws_follow_the_distribution(instruction_set: str, kind: str, params: dict) -> None:
    for size in SIZES[1:-1]:
        check_draws(choose_tokens, logits_of(1, size, kind)[0], params)


@pytest.mark.parametrize("params", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["ties", "peaked"])
def test_the_twin_draws_alike(kind: str, params: dict) -> None:
    for size in (3, 129, 1000):
        check_draws(choose_tokens_twin, logits_of(1, size, kind)[0], params)


@pytest.mark.parametrize("kind", ["flat", "fine", "ties"])
@pytest.mark.parametrize(
    "params", [{"top_p": 0.5}, {"top_p": 0.99, "min_p": 1e-3}, {"top_k": 5000, "top_p": 0.7}], ids=str
)
def test_long_heads(instruction_set: str, kind: str, params: dict) -> None:
    """More tokens are kept than are ever sorted."""
    check_draws(choose_tokens, logits_of(1, 40_000, kind)[0], params)


@pytest.mark.parametrize("top_p", [0.25, 0.5])
def test_equal_logits_are_kept_by_id(instruction_set: str, top_p: float) -> None:
    row, last = torch.full((1, 20_000), -3.0), choice_of(1, 1 - 2**-53, top_p=top_p)
    assert choose_tokens(row, last).item() == pytest.approx(20_000 * top_p, abs=1)
    row[0, ::2] = 0.0  # of two values, the second is cut somewhere
    row[0, 1::2] = -0.0
    assert choose_tokens(row, last).item() == pytest.approx(20_000 * top_p, abs=1)


@pytest.mark.parametrize("kind", ["fine", "ties"])
@pytest.mark.parametrize("size", SIZES)
def test_the_most_likely_token_is_the_first_of_the_largest(instruction_set: str, size: int, kind: str) -> None:
    x = logits_of(20, size, kind)
    greedy = choice_of(20, temperature=0.0)
    assert choose_tokens(x, greedy).tolist() == x.numpy().argmax(-1).tolist()
    assert torch.equal(choose_tokens_twin(x, greedy), choose_tokens(x, greedy))


@pytest.mark.parametrize("params", [{"temperature": 0.0}, {}, {"top_k": 5}, {"top_p": 0.5}, {"min_p": 0.1}], ids=str)
def test_rows_without_a_finite_maximum_have_no_token(instruction_set: str, params: dict) -> None:
    x = logits_of(6, 700, "fine")
    x[0] = -torch.inf
    x[1, 699] = torch.nan
    x[2, 130] = -torch.nan
    x[3, 5] = torch.inf
    x[4, 1:] = -torch.inf
    x[5, :200] = -torch.inf
    for choose in (choose_tokens, choose_tokens_twin):
        got = choose(x, choice_of(6, 0.999999, **params)).tolist()
        assert got[:5] == [NO_TOKEN] * 4 + [0]
        assert got[5] >= 200


def test_rows_do_not_depend_on_each_other(instruction_set: str) -> None:
    x = logits_of(len(SETTINGS) * 2, 9001, "ties")
    parts = [choice_of(1, 0.37, **params) for params in (*SETTINGS, *({"temperature": 0.0} for _ in SETTINGS))]
    together = Choice(*(torch.cat(column) for column in zip(*(vars(p).values() for p in parts), strict=True)))
    results = []
    for threads in (1, 2, 3):
        kernels.use_threads(threads)
        results.append(choose_tokens(x, together).tolist())
        results.append([choose_tokens(x[i : i + 1], p).item() for i, p in enumerate(parts)])
    assert all(result == results[0] for result in results)


def test_the_coldest_temperature_is_greedy(instruction_set: str) -> None:
    x = logits_of(1, 1000, "fine")
    assert choose_tokens(x, choice_of(1, 0.9, temperature=1e-37)).item() == x.argmax()
