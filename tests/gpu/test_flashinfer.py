"""What is asked of FlashInfer, by a stand-in that does in torch what its documentation says; and when it is refused.

With FlashInfer itself, on a GPU, test_attention.py compares it.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attention_rows import Row, run

from penstock.attention import flashinfer, measured
from penstock.attention.base import AttentionSpec, HeadLayout
from penstock.attention.flashinfer import FlashInferAttention
from penstock.attention.select import candidates, create_backend
from penstock.attention.torch_paged import TorchPagedAttention
from penstock.config.shape import ModelShape, Rope
from penstock.errors import StartError

LAYOUT = HeadLayout(4, 2, 64, 0.125, (None, 21))
GPU = torch.device("cuda")


class Prefill:
    """BatchPrefillWithPagedKVCacheWrapper: https://docs.flashinfer.ai/api/attention.html"""

    def __init__(self, workspace: torch.Tensor, kv_layout: str, **options: object):
        assert workspace.dtype is torch.uint8
        assert kv_layout == "HND"

    def plan(self, starts: Any, pages: Any, indices: Any, last: Any, *shape: int, **options: Any) -> None:
        """On the host but for the indices of pages, all in int32."""
        for numbers in (starts, pages, last):
            assert numbers.is_cpu
        for numbers in (starts, pages, indices, last):
            assert numbers.dtype is torch.int32
        assert len(starts) == len(pages) == len(last) + 1
        assert len(indices) == pages[-1]
        self.queries, self.pages = list(pairwise(starts.tolist())), list(pairwise(pages.tolist()))
        self.indices, self.last, self.shape, self.options = indices.long(), last.tolist(), shape, options

    def run(self, q: torch.Tensor, kv: torch.Tensor, out: torch.Tensor) -> None:
        heads, kv_heads, dim, size = self.shape
        assert q.shape == out.shape == (self.queries[-1][1], heads, dim)
        assert kv.shape[1:] == (2, kv_heads, size, dim)
        assert q.dtype is self.options["q_data_type"]
        assert kv.dtype is self.options["kv_data_type"]
        for (first, end), (page, page_end), last in zip(self.queries, self.pages, self.last, strict=True):
            assert 1 <= last <= size
            length = (page_end - page - 1) * size + last
            own = kv[self.indices[page:page_end]].double()  # [page, 2, G, size, D]
            k, v = (
                own[:, i].transpose(1, 2).flatten(0, 1)[:length].repeat_interleave(heads // kv_heads, 1) for i in (0, 1)
            )
            score = torch.einsum("qhd,khd->hqk", q[first:end].double(), k) * self.options["sm_scale"]
            behind = torch.arange(length - (end - first), length)[:, None] - torch.arange(length)
            hidden = torch.zeros_like(behind, dtype=torch.bool)
            if self.options["causal"]:
                hidden |= behind < 0
            if self.options["window_left"] >= 0:
                hidden |= behind > self.options["window_left"]
            share = score.masked_fill(hidden.to(score.device), float("-inf")).softmax(-1)
            out[first:end] = torch.einsum("hqk,khd->qhd", share, v)


class Decode(Prefill):
    """BatchDecodeWithPagedKVCacheWrapper: a token in each row."""

    def plan(self, pages: Any, indices: Any, last: Any, *shape: int, **options: Any) -> None:  # type: ignore[override]
        starts = torch.arange(len(last) + 1, dtype=torch.int32)
        super().plan(starts, pages, indices, last, *shape, causal=True, **options)


@pytest.mark.parametrize("causal", [True, False])
def test_a_step_is_what_flashinfer_reads(place: torch.device, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("BatchPrefillWithPagedKVCacheWrapper", "BatchDecodeWithPagedKVCacheWrapper")
    monkeypatch.setitem(sys.modules, "flashinfer", SimpleNamespace(**dict(zip(names, (Prefill, Decode), strict=True))))
    monkeypatch.setattr(flashinfer, "WORKSPACE_BYTES", 16)
    layout = LAYOUT if causal else replace(LAYOUT, windows=(None, None), causal=False)
    some = FlashInferAttention(AttentionSpec(layout, 16, torch.float16, place, "float16"))
    assert not some.pads  # or steps would be recorded with a plan in them
    twin = TorchPagedAttention(AttentionSpec(layout, 16, torch.float16, torch.device("cpu"), "float16"))
    rows = [Row(n, layout, torch.float16, n) for n in (5, 40, 17)]
    cuts = [[3, 1, 1], [30, 9, 1], [15, 1, 1]] if causal else [[len(r)] for r in rows]
    for layer in range(2):
        for got, want in zip(run(some, rows, cuts, layer), run(twin, rows, cuts, layer), strict=True):
            torch.testing.assert_close(got, want, atol=3e-3, rtol=3e-3)


def test_kernels_that_are_not_to_be_had_are_told_at_the_start(
    place: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "flashinfer", SimpleNamespace())
    monkeypatch.setattr(flashinfer, "WORKSPACE_BYTES", 16)
    with pytest.raises(StartError, match=r"its kernels are not to be had \(AttributeError.*flashinfer-jit-cache"):
        FlashInferAttention(AttentionSpec(LAYOUT, 16, torch.float16, place, "float16"))


@pytest.mark.parametrize(
    ("changed", "dtype", "kv_dtype", "invariant", "why"),
    [
        ({}, torch.float32, "float32", False, "bfloat16 and float16, not in float32"),
        ({}, torch.bfloat16, "fp8_e4m3", False, "no scales for each token, which keys and values in fp8_e4m3"),
        ({"head_dim": 80}, torch.bfloat16, "bfloat16", False, "a head_dim of 64, 128, 256, not 80"),
        ({"causal": False}, torch.bfloat16, "bfloat16", False, "look back alone"),
        ({}, torch.bfloat16, "bfloat16", True, "does not keep bits the same"),
    ],
)
def test_what_it_cannot_do(
    changed: dict[str, Any], dtype: torch.dtype, kv_dtype: str, invariant: bool, why: str
) -> None:
    spec = AttentionSpec(replace(LAYOUT, **changed), 16, dtype, GPU, kv_dtype, invariant)
    reason = FlashInferAttention.refusal(spec)
    assert reason is not None
    assert why in reason


def test_where_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("flashinfer") is None:
        reason = FlashInferAttention.refusal(AttentionSpec(LAYOUT, 16, torch.bfloat16, GPU, "bfloat16"))
        assert reason == 'FlashInfer is not installed (pip install "penstock[flashinfer]")'
    shape = ModelShape("LlamaForCausalLM", 10, 64, 64, 2, 4, 2, 64, 1e-6, 64, Rope())
    with pytest.raises(StartError, match="--attention-backend FLASHINFER: flashinfer: FlashInfer is for NVIDIA GPUs"):
        create_backend("FLASHINFER", shape, 16, torch.float16, torch.device("cpu"))
    assert candidates("auto", "a GPU of tomorrow") == ("packed", "triton", "varlen", "torch_paged")
    monkeypatch.setitem(measured.MEASURED, "NVIDIA H200", ("flashinfer", "triton"))
    assert candidates("auto", "NVIDIA H200") == ("packed", "flashinfer", "triton", "torch_paged")
