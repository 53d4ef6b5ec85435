"""The bundled model as plain torch: a Qwen3 decoder with fused projections, bf16 weights, ragged batches.

It knows shapes and arithmetic; it does not know text, files or the optimizer. `export.py` writes its weights under
the names that Hugging Face gives them.

Letters: N tokens of a step, G rows of one length group, L its length, H query heads, K key heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    vocab: int = 4096
    hidden: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 768
    rope_theta: float = 10000.0
    eps: float = 1e-6
    max_len: int = 4096


@dataclass(frozen=True)
class Group:
    """Rows of one padded length: tokens start .. start + rows * length of the flat batch."""

    start: int
    rows: int
    length: int


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.s = s
        self.qkv = nn.Linear(s.hidden, (s.heads + 2 * s.kv_heads) * s.head_dim, bias=False)
        self.out = nn.Linear(s.heads * s.head_dim, s.hidden, bias=False)
        self.q_norm = RMSNorm(s.head_dim, s.eps)
        self.k_norm = RMSNorm(s.head_dim, s.eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, groups: list[Group]) -> Tensor:
        s = self.s
        qk, v = self.qkv(x).view(len(x), -1, s.head_dim).split([s.heads + s.kv_heads, s.kv_heads], 1)
        scales = torch.cat((self.q_norm.weight.expand(s.heads, -1), self.k_norm.weight.expand(s.kv_heads, -1)))
        qk = rotate(F.rms_norm(qk, (s.head_dim,), None, s.eps) * scales, cos, sin)
        q, k = qk.split([s.heads, s.kv_heads], 1)
        parts = []
        for g in groups:
            span = slice(g.start, g.start + g.rows * g.length)
            qg, kg, vg = (t[span].unflatten(0, (g.rows, g.length)).transpose(1, 2).contiguous() for t in (q, k, v))
            parts.append(attend(qg, kg, vg).transpose(1, 2).reshape(-1, s.heads * s.head_dim))
        return self.out(torch.cat(parts))


class Block(nn.Module):
    def __init__(self, s: Shape) -> None:
        super().__init__()
        self.attn_norm = RMSNorm(s.hidden, s.eps)
        self.attn = Attention(s)
        self.mlp_norm = RMSNorm(s.hidden, s.eps)
        self.gate_up = nn.Linear(s.hidden, 2 * s.ffn, bias=False)
        self.down = nn.Linear(s.ffn, s.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, groups: list[Group], picked: Tensor | None = None) -> Tensor:
        """All positions, or only the `picked` ones, which is enough after the last block."""
        x = x + self.attn(self.attn_norm(x), cos, sin, groups)
        x = x if picked is None else x[picked]
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class TinyModel(nn.Module):
    def __init__(self, s: Shape, seed: int) -> None:
        super().__init__()
        self.s = s
        self.embed = nn.Embedding(s.vocab, s.hidden)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.norm = RMSNorm(s.hidden, s.eps)
        self._init(seed)
        inverse = s.rope_theta ** (-torch.arange(0, s.head_dim, 2, dtype=torch.float64) / s.head_dim)
        angles = torch.outer(torch.arange(s.max_len, dtype=torch.float64), inverse)
        angles = torch.cat((angles, angles), -1)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        signed = torch.cat((-angles[:, : s.head_dim // 2].sin(), angles[:, s.head_dim // 2 :].sin()), -1)
        self.register_buffer("sin", signed.float(), persistent=False)

    def _init(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                small = name.endswith(("out.weight", "down.weight"))
                std = 0.02 if name.startswith("embed") else p.shape[1] ** -0.5
                nn.init.normal_(p, std=std * (0.1 if small else 1.0), generator=g)

    def forward(self, ids: Tensor, groups: list[Group], picked: Tensor) -> Tensor:
        """Logits [picked, vocab] at the flat positions `picked` of the flat batch `ids` [N]."""
        positions = torch.cat([torch.arange(g.length).repeat(g.rows) for g in groups])
        x = self.embed(ids)
        cos, sin = (t[positions].unsqueeze(1).to(x.dtype) for t in (self.cos, self.sin))
        for block in self.blocks[:-1]:
            x = block(x, cos, sin, groups)
        return F.linear(self.norm(self.blocks[-1](x, cos, sin, groups, picked)), self.embed.weight)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, [G, H, L, D] with K key heads; written out because that is faster than SDPA for short rows."""
    rows, heads, length, size = q.shape
    if length > 512:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    shared = (q * size**-0.5).reshape(rows, k.shape[1], -1, size)
    scores = (shared @ k.transpose(-1, -2)).view(rows, heads, length, length)
    later = torch.full((length, length), float("-inf"), dtype=q.dtype).triu(1)
    weights = (scores + later).softmax(-1)
    return (weights.view(rows, k.shape[1], -1, length) @ v).view(rows, heads, length, size)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions; `sin` carries the sign of the half that it multiplies."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat((x[..., half:], x[..., :half]), -1) * sin
