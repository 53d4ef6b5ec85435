"""Muon for the matrices of the blocks, AdamW for the embedding and the norms, over fp32 masters of bf16 weights.

Muon steps along the nearest orthogonal matrix to the momentum; fused projections are cut into their parts first, so
that each part is made orthogonal by itself.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from .model import TinyModel

_A, _B, _C = 3.4445, -4.7750, 2.0315  # quintic Newton-Schulz coefficients
_STEPS = 5
_AVERAGE = 0.04


def orthogonal(m: Tensor) -> Tensor:
    """[K, R, C] -> each matrix with its singular values moved close to one."""
    wide = m.shape[-2] <= m.shape[-1]
    x = (m if wide else m.transpose(-1, -2)).bfloat16()
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True).bfloat16() + 1e-7)
    for _ in range(_STEPS):
        a = x @ x.transpose(-1, -2)
        x = _A * x + (_B * a + _C * (a @ a)) @ x
    return (x if wide else x.transpose(-1, -2)).float()


class Optimizer:
    """Owns the fp32 masters, the momenta and the gradient sums; `step` writes the bf16 weights back."""

    def __init__(self, model: TinyModel, matrix_rate: float, vector_rate: float, decay: float = 0.01) -> None:
        self.params: dict[str, nn.Parameter] = dict(model.named_parameters())
        self.cuts = {n: _parts(n, model) for n, p in self.params.items() if p.dim() == 2 and not n.startswith("embed")}
        self.master = {n: p.detach().float().clone() for n, p in self.params.items()}
        self.average = {n: m.clone() for n, m in self.master.items()}  # of the last steps, smoother than the weights
        self.first = {n: torch.zeros_like(m) for n, m in self.master.items()}
        self.second = {n: torch.zeros_like(m) for n, m in self.master.items() if n not in self.cuts}
        self.rates = matrix_rate, vector_rate
        self.decay = decay
        self.count = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with the learning rates times `scale`; clears the gradients."""
        self.count += 1
        matrix_rate, vector_rate = (r * scale for r in self.rates)
        for name, p in self.params.items():
            grad = p.grad.float()
            p.grad = None
            if name in self.cuts:
                self._muon(name, grad, matrix_rate)
            else:
                self._adam(name, grad, vector_rate)
            p.copy_(self.master[name])
            self.average[name].lerp_(self.master[name], _AVERAGE)

    def _muon(self, name: str, grad: Tensor, rate: float) -> None:
        momentum, master = self.first[name], self.master[name]
        momentum.lerp_(grad, 0.05)
        direction = grad.lerp(momentum, 0.95)
        master.mul_(1 - rate * self.decay)
        for part, m in zip(direction.split(self.cuts[name]), master.split(self.cuts[name]), strict=True):
            stretch = max(1.0, part.shape[0] / part.shape[1]) ** 0.5
            m.sub_(orthogonal(part[None])[0], alpha=rate * stretch)

    def _adam(self, name: str, grad: Tensor, rate: float) -> None:
        first, second = self.first[name], self.second[name]
        first.lerp_(grad, 0.1)
        second.lerp_(grad.square(), 0.02)
        unbiased = (second / (1 - 0.98**self.count)).sqrt_().add_(1e-8)
        self.master[name].sub_(first / (1 - 0.9**self.count) / unbiased, alpha=rate)

    @torch.no_grad()
    def averaged(self, model: TinyModel) -> TinyModel:
        """A copy of the model with the averaged weights."""
        smooth = copy.deepcopy(model)
        for name, p in smooth.named_parameters():
            p.copy_(self.average[name])
        return smooth

    def state(self) -> dict[str, Tensor]:
        groups = {"master": self.master, "average": self.average, "first": self.first, "second": self.second}
        return {f"{g}.{n}": t for g, tensors in groups.items() for n, t in tensors.items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor], count: int) -> None:
        for key, tensor in self.state().items():
            tensor.copy_(state[key] if key in state else state[key.replace("average", "master")])
        for name, p in self.params.items():
            p.copy_(self.master[name])
        self.count = count


def _parts(name: str, model: TinyModel) -> list[int]:
    s = model.s
    if name.endswith("qkv.weight"):
        return [s.heads * s.head_dim, s.kv_heads * s.head_dim, s.kv_heads * s.head_dim]
    if name.endswith("gate_up.weight"):
        return [s.ffn, s.ffn]
    return [dict(model.named_parameters())[name].shape[0]]
