"""Every operation gives a row the same bits alone and in batches of many sizes; and the right numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

from penstock.ops.embedding import embedding
from penstock.ops.linear import RowPlan, linear, plan_rows
from penstock.ops.rms_norm import add_rms_norm, rms_norm
from penstock.ops.rotary import rotate
from penstock.ops.rows import row_chunks
from penstock.ops.silu_and_mul import silu_and_mul

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
BATCHES = (1, 2, 3, 7, 9, 31, 64, 100, 500)
SHARED_AMONG_THREADS = 200_000  # elements; torch cuts loops of this size
WIDTHS = (24, 90, 176, 2048)


def rows(width: int, dtype: torch.dtype, count: int = 500) -> torch.Tensor:
    return (torch.randn(count, width, generator=torch.Generator().manual_seed(width)) * 3).to(dtype)


def check(op: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> None:
    if x.numel() > SHARED_AMONG_THREADS:
        torch.set_num_threads(2)
    before = x.clone()
    single = torch.cat([op(x[i : i + 1]) for i in range(20)])
    for n in BATCHES:
        m = min(n, 20)
        assert torch.equal(op(x[:n])[:m], single[:m]), f"first of {n} rows"
        assert torch.equal(op(x[:n].flip(0))[-m:], single[:m].flip(0)), f"last of {n} rows"
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("k", "n"), [(24, 72), (90, 33), (176, 64), (64, 353), (512, 1024)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear(k: int, n: int, with_bias: bool, dtype: torch.dtype) -> None:
    weight, bias = rows(k, dtype, n) / k**0.5, rows(n, dtype, 1)[0] if with_bias else None
    plan = plan_rows(weight, bias)
    check(lambda x: linear(x, weight, bias, plan), rows(k, dtype))
    x = rows(k, dtype, 70)
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}[dtype]
    want = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    torch.testing.assert_close(linear(x, weight, bias, plan).double(), want, atol=tolerance, rtol=0.01)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_norms(width: int, dtype: torch.dtype) -> None:
    weight = rows(width, dtype, 1)[0]
    check(lambda x: rms_norm(x, weight, 1e-6), rows(width, dtype))
    check(lambda x: add_rms_norm(x, x * 0.5, weight, 1e-6), rows(width, dtype))
    x = rows(width, dtype, 10)
    want = F.rms_norm(x.double(), (width,), weight.double(), 1e-6)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6).double(), want, rtol=0.02, atol=1e-4)
    residual = x.clone()
    add_rms_norm(x, residual, weight, 1e-6)
    assert torch.equal(residual, x + x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
def test_silu_and_mul(width: int, dtype: torch.dtype) -> None:
    x = rows(2 * width, dtype)
    check(silu_and_mul, x)
    want = F.silu(x[:, :width].double()) * x[:, width:].double()
    torch.testing.assert_close(silu_and_mul(x).double(), want, rtol=0.01, atol=1e-5)


def test_silu_of_large_values_is_finite() -> None:
    x = torch.tensor([[-1e4, 1e4, 1.0, 1.0]])
    assert silu_and_mul(x).tolist() == [[0.0, 1e4]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [16, 24, 128])
def test_rotate(dim: int, dtype: torch.dtype) -> None:
    angle = torch.arange(500)[:, None] * 0.1 ** torch.arange(dim // 2)

    def op(x: torch.Tensor) -> torch.Tensor:  # every row at position 5, so that its place does not matter
        at = angle[5].expand(x.shape[0], -1)
        return rotate(x.unflatten(1, (5, dim)), at.cos(), at.sin()).flatten(1)

    check(op, rows(5 * dim, dtype))


def test_rotate_turns_pairs_and_passes_the_rest() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 9.0]]])
    turned = rotate(x, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    assert turned.tolist() == [[[-3.0, 2.0, 1.0, 4.0, 9.0]]]


def test_embedding() -> None:
    table = rows(7, torch.float32, 20)
    assert torch.equal(embedding(torch.tensor([3, 3, 19]), table), table[[3, 3, 19]])


@pytest.mark.parametrize("sizes", [(8,), (8, 16, 64, 512), (1,)])
def test_row_plan_covers_every_row_once(sizes: tuple[int, ...]) -> None:
    for count in (1, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1300):
        pieces = list(RowPlan(sizes).pieces(count))
        assert [p[0] for p in pieces] == [0, *(p[1] for p in pieces[:-1])]
        assert pieces[-1][1] == count
        assert all(size in sizes and stop - start <= size for start, stop, size in pieces)


def test_row_chunks_cover_every_row_once() -> None:
    for count, width in ((1, 10), (1000, 1000), (3, 10**6)):
        chunks = list(row_chunks(count, width, torch.device("cpu")))
        assert [i for c in chunks for i in range(c.start, c.stop)] == list(range(count))
