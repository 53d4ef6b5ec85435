"""Layers are modules that cost no more than plain objects, and are found like torch's."""

from __future__ import annotations

import torch

from penstock.layers.module import Module


class Inner(Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(2))
        self.register_buffer("bias", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight


class Outer(Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Inner()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * 2


def test_calls_attributes_and_traversal() -> None:
    outer = Outer()
    assert outer(torch.zeros(2)).tolist() == [2.0, 2.0]
    assert "inner" in outer.__dict__
    assert outer.inner.__dict__["bias"] is None
    assert [type(m) for m in outer.modules()] == [Outer, Inner]
    assert list(dict(outer.named_buffers())) == ["inner.weight"]


def test_what_is_set_again_is_what_is_seen() -> None:
    outer, other = Outer(), Inner()
    outer.inner.weight = torch.full((2,), 3.0)
    assert outer(torch.zeros(2)).tolist() == [6.0, 6.0]
    assert dict(outer.named_buffers())["inner.weight"].tolist() == [3.0, 3.0]
    outer.inner = other
    assert list(outer.modules()) == [outer, other]
    assert outer(torch.zeros(2)).tolist() == [2.0, 2.0]
    del other.weight
    assert not hasattr(other, "weight")
