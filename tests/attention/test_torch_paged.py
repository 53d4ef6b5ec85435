"""The paged backend against dense attention, over ragged batches; and to the bit against itself cut otherwise."""

from __future__ import annotations

import pytest
import torch
from attention_rows import Row, dense, run

from penstock.attention.base import AttentionSpec, HeadLayout
from penstock.attention.select import create_backend
from penstock.attention.torch_paged import TorchPagedAttention
from penstock.config.shape import ModelShape, Rope
from penstock.errors import StartError

CPU = torch.device("cpu")


def twin(layout: HeadLayout, block_size: int, dtype: torch.dtype) -> TorchPagedAttention:
    return TorchPagedAttention(AttentionSpec(layout, block_size, dtype, CPU, str(dtype).removeprefix("torch.")))


@pytest.mark.parametrize("window", [None, 1, 37, 128])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 16), (7, 1, 24), (3, 3, 64)])
@pytest.mark.parametrize("block_size", [4, 16, 48, 256])
def test_equals_dense_attention(window: int | None, heads: int, kv_heads: int, dim: int, block_size: int) -> None:
    layout = HeadLayout(heads, kv_heads, dim, dim**-0.5, (None, window))
    rows = [Row(n, layout, torch.float32, n) for n in (1, 130, 300, 17)]
    backend = twin(layout, block_size, torch.float32)
    cuts = [[0, 1], [100, 1, 29], [7, 200, 90, 3], [17]]
    for row, out in zip(rows, run(backend, rows, cuts, layer=1), strict=True):
        torch.testing.assert_close(out.double(), dense(row, layout, window), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("window", [None, 50])
def test_same_bits_however_cut(dtype: torch.dtype, window: int | None) -> None:
    layout = HeadLayout(6, 2, 24, 24**-0.5, (window,))
    backend = twin(layout, 16, dtype)
    row = Row(290, layout, dtype, 0)
    (alone,) = run(backend, [row], [[290]])
    for cuts in ([1] * 290, [64, 64, 64, 64, 34], [289, 1], [3, 130, 157]):
        assert torch.equal(run(backend, [row], [cuts])[0], alone)
    others = [Row(n, layout, dtype, n) for n in (1, 500, 40, 129, 7)]
    together = run(backend, [*others, row], [[len(o)] for o in others] + [[290]])
    assert torch.equal(together[-1], alone)
    decodes = run(backend, [row, *others], [[289, 1]] + [[len(o) - 1, 1] for o in others])
    assert torch.equal(decodes[0], alone)


def test_same_bits_with_threads() -> None:
    torch.set_num_threads(2)
    layout = HeadLayout(16, 8, 128, 128**-0.5, (None,))
    backend = twin(layout, 128, torch.bfloat16)
    row, other = Row(400, layout, torch.bfloat16, 0), Row(300, layout, torch.bfloat16, 1)
    (alone,) = run(backend, [row], [[400]])
    assert torch.equal(run(backend, [row], [[150, 249, 1]])[0], alone)
    assert torch.equal(run(backend, [other, row], [[299, 1], [399, 1]])[1], alone)


def test_16_bit_output_is_the_rounded_float32_result() -> None:
    layout = HeadLayout(4, 2, 16, 0.25, (None,))
    row = Row(200, layout, torch.bfloat16, 5)
    (out,) = run(twin(layout, 16, torch.bfloat16), [row], [[200]])
    torch.testing.assert_close(out.double(), dense(row, layout, None), atol=1e-3, rtol=2**-8)


def test_bytes_per_block_is_what_allocate_takes() -> None:
    layout = HeadLayout(4, 2, 16, 0.25, (None,) * 3)
    backend = twin(layout, 32, torch.bfloat16)
    backend.allocate(5)
    stores = [*backend.keys, *backend.values]
    assert sum(s.numel() * s.element_size() for s in stores) == 5 * backend.bytes_per_block()
    assert not any(s.any() for s in stores)


def test_unknown_backend_names_the_known() -> None:
    shape = ModelShape("LlamaForCausalLM", 10, 64, 64, 2, 4, 2, 16, 1e-6, 64, Rope())
    with pytest.raises(StartError, match="known: flashinfer, packed, torch_paged, triton, varlen"):
        create_backend("nonesuch", shape, 16, torch.float32, CPU)
    assert create_backend("auto", shape, 16, torch.float32, CPU).layout.windows == (None, None)
