"""Activations and the layer norm: torch's numbers, and the same bits wherever a row stands."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from penstock.ops import plain_activations
from penstock.ops.layer_norm import layer_norm

WANTED = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "identity": lambda x: x,
}


def rows(count: int, width: int, dtype: torch.dtype) -> torch.Tensor:
    return (4 * torch.randn(count, width, generator=torch.Generator().manual_seed(width))).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", WANTED)
def test_activations(name: str, dtype: torch.dtype) -> None:
    function = getattr(plain_activations, name)
    x = rows(300, 723, dtype)
    got = function(x)
    atol = 2e-6 if dtype is torch.float32 else 0.02
    torch.testing.assert_close(got.float(), WANTED[name](x.float()), atol=atol, rtol=1e-2 if atol > 0.01 else 1e-5)
    assert all(torch.equal(function(x[i : i + 1].clone())[0], got[i]) for i in range(0, 300, 7))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("width", [32, 384, 723])
def test_layer_norm(width: int, dtype: torch.dtype) -> None:
    x, (weight, bias) = rows(300, width, dtype), rows(2, width, dtype)
    got = layer_norm(x, weight, bias, 1e-12)
    want = F.layer_norm(x.double(), (width,), weight.double(), bias.double(), 1e-12)
    atol = 2e-5 if dtype is torch.float32 else 0.1
    torch.testing.assert_close(got.double(), want, atol=atol, rtol=1e-2)
    assert all(torch.equal(layer_norm(x[i : i + 1].clone(), weight, bias, 1e-12)[0], got[i]) for i in range(0, 300, 7))
