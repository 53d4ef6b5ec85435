"""Triton's choice of tokens follows the same distributions as a float64 softmax that is sorted whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampling_twin import distribution

from penstock.ops.choose_tokens import NO_TOKEN, Choice, choose_tokens
from penstock.params import SamplingParams
from triton_checks import Kernel, check_compiled

SETTINGS: list[dict] = [
    {},
    {"temperature": 1.7, "min_p": 0.1},
    {"top_k": 1},
    {"top_k": 40, "min_p": 0.01},
    {"top_p": 0.2},
    {"top_p": 0.95, "temperature": 2.0},
    {"top_p": 0.9, "top_k": 6, "min_p": 0.05},
    {"top_p": 0.9, "min_p": 0.02},
]
NEAR = 2e-6  # how close to a step of the running sum float32 weights may be on its other side


def logits_of(size: int, kind: str) -> torch.Tensor:
    x = torch.randn(size, generator=torch.Generator().manual_seed(size)) * 2
    return x.bfloat16().float() if kind == "ties" else x


def choice_of(uniform: np.ndarray, place: torch.device, **params: float) -> Choice:
    known, rows = SamplingParams(max_tokens=None, **params), len(uniform)
    columns = (
        torch.full((rows,), known.temperature),
        torch.full((rows,), known.min_p),
        torch.full((rows,), known.top_k, dtype=torch.int64),
        torch.full((rows,), known.top_p, dtype=torch.float64),
        torch.as_tensor(uniform, dtype=torch.float64),
    )
    return Choice(*(c.to(place) for c in columns))


@pytest.mark.parametrize("params", SETTINGS, ids=str)
@pytest.mark.parametrize(("size", "kind"), [(3, "fine"), (129, "ties"), (2500, "ties")])
def test_draws_follow_the_distribution(size: int, kind: str, params: dict, place: torch.device) -> None:
    count = 300 if place.type == "cuda" else 8
    uniform = np.concatenate([(np.arange(count) + 0.37) / count, [0.0, 1 - 2**-53]])
    row = logits_of(size, kind)
    logits = row.to(place).expand(count + 2, -1).contiguous()
    got = choose_tokens(logits, choice_of(uniform, place, **params)).cpu().numpy()
    wanted = distribution(row.numpy(), SamplingParams(max_tokens=None, **params))
    cdf = np.cumsum(wanted)
    assert (wanted[got] > 0).all()
    assert (cdf[got] - wanted[got] <= uniform + NEAR).all()
    assert (uniform <= cdf[got] + NEAR).all()


def test_equal_logits_are_kept_by_id(place: torch.device) -> None:
    row = torch.full((1, 2100), -3.0, device=place)
    last = choice_of(np.array([1 - 2**-53]), place, top_p=0.5)
    assert choose_tokens(row, last).item() == pytest.approx(1050, abs=1)
    row[0, ::2] = 0.0  # of two values, the second is cut somewhere
    row[0, 1::2] = -0.0
    assert choose_tokens(row, last).item() == pytest.approx(1050, abs=1)
    assert choose_tokens(row, choice_of(np.array([1 - 2**-53]), place, top_k=7)).item() == 6


@pytest.mark.parametrize("params", [{"temperature": 0.0}, {}, {"top_k": 5}, {"top_p": 0.5}], ids=str)
def test_rows_without_a_finite_maximum_have_no_token(params: dict, place: torch.device) -> None:
    x = torch.randn(6, 300, device=place)
    x[0] = -torch.inf
    x[1, 299] = torch.nan
    x[2, 130] = -torch.nan
    x[3, 5] = torch.inf
    x[4, 1:] = -torch.inf
    x[5, :200] = -torch.inf
    got = choose_tokens(x, choice_of(np.full(6, 0.999999), place, **params)).tolist()
    assert got[:5] == [NO_TOKEN] * 4 + [0]
    assert got[5] >= 200


def test_the_most_likely_token_is_the_first_of_the_largest(place: torch.device) -> None:
    for size in (1, 130, 2500):
        x = logits_of(size * 4, "ties").view(4, size).to(place)
        assert choose_tokens(x, choice_of(np.zeros(4), place, temperature=0.0)).tolist() == [
            row.index(max(row)) for row in x.tolist()
        ]
    cold = choice_of(np.array([0.9]), place, temperature=1e-37)
    assert choose_tokens(x[:1], cold).item() == x[0].argmax()


def test_it_compiles() -> None:
    pytest.importorskip("triton")
    pointers = {"logits": "*fp32", "temperatures": "*fp32", "min_ps": "*fp32", "top_ks": "*i64", "top_ps": "*fp64"}
    signature = pointers | {"uniforms": "*fp64", "tokens": "*i64", "width": "i32", "block": "constexpr"}
    path = "penstock.ops.triton.choose_tokens:choose_kernel"
    check_compiled([Kernel(path, signature, {"block": 2048}, num_warps=8, aligned=(*pointers, "width"))])
