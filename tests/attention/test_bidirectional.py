"""Attention in which a token sees its whole row: against dense attention, and the same bits in any company."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from attention_rows import Row, run

from penstock.attention.base import AttentionBackend, AttentionSpec, HeadLayout
from penstock.attention.packed import PackedAttention
from penstock.attention.torch_paged import TorchPagedAttention
from penstock.ops import kernels

CPU = torch.device("cpu")
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 0.02, torch.float16: 3e-3}


@pytest.fixture(params=kernels.names())
def backend_kind(request: pytest.FixtureRequest) -> Iterator[type[AttentionBackend]]:
    """Each instruction set, and the twin."""
    if request.param == kernels.TWINS:
        yield TorchPagedAttention
        return
    before = kernels.native.isa()
    kernels.choose(request.param)
    yield PackedAttention
    kernels.choose(before)


def dense(row: Row, layout: HeadLayout, window: int | None = None) -> torch.Tensor:
    """[tokens, H, D] in float64."""
    group = layout.num_heads // layout.num_kv_heads
    k, v = (part.double().repeat_interleave(group, 1) for part in (row.k, row.v))
    score = torch.einsum("qhd,khd->hqk", row.q.double(), k) * layout.scale
    if window is not None:
        place = torch.arange(len(row))
        score = score.masked_fill((place[:, None] - place).abs() >= window, float("-inf"))
    return torch.einsum("hqk,khd->qhd", score.softmax(-1), v)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("heads", "kv_heads", "dim", "block_size"), [(4, 4, 32, 64), (6, 2, 24, 8)])
def test_whole_rows(
    backend_kind: type[AttentionBackend], dtype: torch.dtype, heads: int, kv_heads: int, dim: int, block_size: int
) -> None:
    layout = HeadLayout(heads, kv_heads, dim, dim**-0.5, (None, None), causal=False)
    backend = backend_kind(AttentionSpec(layout, block_size, dtype, CPU, str(dtype).removeprefix("torch.")))
    assert backend.bytes_per_block() < 2 * 2 * 4 * block_size * kv_heads * (dim + 32)  # of one layer
    rows = [Row(n, layout, dtype, n) for n in (1, 17, 64, 130, 1100)]
    together = run(backend, rows, [[len(r)] for r in rows], layer=1)
    for row, out in zip(rows, together, strict=True):
        torch.testing.assert_close(out.double(), dense(row, layout), atol=TOLERANCE[dtype], rtol=1e-2)
        (alone,) = run(backend, [row], [[len(row)]], layer=0)  # in memory that all layers share
        assert torch.equal(alone, out)


@pytest.mark.parametrize("window", [1, 5, 64, 65, 200])
@pytest.mark.parametrize(("heads", "kv_heads", "dim", "block_size"), [(4, 4, 32, 64), (6, 2, 24, 8)])
def test_windows_to_both_sides(
    backend_kind: type[AttentionBackend], window: int, heads: int, kv_heads: int, dim: int, block_size: int
) -> None:
    layout = HeadLayout(heads, kv_heads, dim, dim**-0.5, (None, window), causal=False)
    backend = backend_kind(AttentionSpec(layout, block_size, torch.float32, CPU, "float32"))
    rows = [Row(n, layout, torch.float32, n) for n in (1, 17, 64, 130, 1100)]
    together = run(backend, rows, [[len(r)] for r in rows], layer=1)
    for row, out in zip(rows, together, strict=True):
        torch.testing.assert_close(out.double(), dense(row, layout, window), atol=2e-5, rtol=1e-2)
        (alone,) = run(backend, [row], [[len(row)]], layer=1)
        assert torch.equal(alone, out)


def test_same_bits_with_threads(backend_kind: type[AttentionBackend]) -> None:
    layout = HeadLayout(4, 4, 32, 32**-0.5, (None,), causal=False)
    backend = backend_kind(AttentionSpec(layout, 64, torch.float32, CPU, "float32"))
    rows = [Row(n, layout, torch.float32, n) for n in (3, 70, 1300)]
    want = run(backend, rows, [[len(r)] for r in rows])
    for threads in (2, 3):
        kernels.use_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(run(backend, rows, [[len(r)] for r in rows]), want, strict=True))
