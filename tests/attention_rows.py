"""Sequences with random queries, keys and values, dense attention over them, and steps that cut them in any way."""

from __future__ import annotations

from functools import partial

import torch

from penstock.attention.base import AttentionBackend, HeadLayout
from penstock.attention.context import AttentionStep


class Row:
    """A sequence with random queries, keys and values for all its tokens: [length, H or G, D]."""

    def __init__(self, length: int, layout: HeadLayout, dtype: torch.dtype, seed: int):
        generator = torch.Generator().manual_seed(seed)

        def random(heads: int) -> torch.Tensor:
            return torch.randn(length, heads, layout.head_dim, generator=generator).to(dtype)

        self.q, self.k, self.v = random(layout.num_heads), random(layout.num_kv_heads), random(layout.num_kv_heads)

    def __len__(self) -> int:
        return self.q.shape[0]

    def qkv(self, start: int, stop: int) -> torch.Tensor:
        """[tokens, (H + 2 G) D]."""
        return torch.cat([part[start:stop].flatten(1) for part in (self.q, self.k, self.v)], 1)


def no_rotation(tokens: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(tokens, dim // 2), torch.zeros(tokens, dim // 2)


def dense(row: Row, layout: HeadLayout, window: int | None, last: int | None = None) -> torch.Tensor:
    """Attention in float64 of all tokens, or of the last ones: [tokens, H, D]."""
    first = 0 if last is None else len(row) - last
    group = layout.num_heads // layout.num_kv_heads
    q, k, v = (
        row.q[first:].double(),
        row.k.double().repeat_interleave(group, 1),
        row.v.double().repeat_interleave(group, 1),
    )
    score = torch.einsum("qhd,khd->hqk", q, k) * layout.scale
    distance = torch.arange(first, len(row))[:, None] - torch.arange(len(row))
    hidden = (distance < 0) | (distance >= (window or len(row)))
    return torch.einsum("hqk,khd->qhd", score.masked_fill(hidden, float("-inf")).softmax(-1), v)


def run(
    backend: AttentionBackend, rows: list[Row], cuts: list[list[int]], layer: int = 0, first_block: int = 1
) -> list[torch.Tensor]:
    """Outputs per row, [length, H, D], when step i runs cuts[row][i] tokens of each row (0: the row rests).

    Args:
        first_block: 1 allocates new memory; otherwise what an earlier run left is used, from that block on.
    """
    size, dim, tensor = backend.block_size, backend.layout.head_dim, partial(torch.tensor, device=backend.device)
    tables, used = [], first_block
    for row in rows:
        count = -(-len(row) // size)
        tables.append(list(range(used, used + count))[::-1])  # descending, so that order matters
        used += count
    if first_block == 1:
        backend.allocate(used)
    width = max(map(len, tables))
    outputs: list[list[torch.Tensor]] = [[] for _ in rows]
    done = [0] * len(rows)
    for i in range(max(map(len, cuts))):
        active = [(r, cuts[r][i]) for r in range(len(rows)) if i < len(cuts[r]) and cuts[r][i]]
        spans = {r: range(done[r], done[r] + n) for r, n in active}
        step = AttentionStep(
            query_lens=[n for _, n in active],
            context_lens=[done[r] + n for r, n in active],
            block_tables_RB=tensor([tables[r] + [0] * (width - len(tables[r])) for r, _ in active]).int(),
            slots_T=tensor([tables[r][p // size] * size + p % size for r, _ in active for p in spans[r]]),
            positions_T=tensor([p for r, _ in active for p in spans[r]]),
        )
        qkv_TN = torch.cat([rows[r].qkv(s.start, s.stop) for r, s in spans.items()]).to(backend.device)
        cos_TF, sin_TF = (x.to(backend.device) for x in no_rotation(qkv_TN.shape[0], dim))
        out = backend.bind(step).attend(layer, qkv_TN, (cos_TF, sin_TF)).cpu()
        for (r, n), part in zip(active, out.unflatten(1, (-1, dim)).split([n for _, n in active]), strict=True):
            outputs[r].append(part)
            done[r] += n
    return [torch.cat(out) for out in outputs]
