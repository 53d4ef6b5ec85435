"""Triton's log probabilities, order and ranks against torch's."""

from __future__ import annotations

import pytest
import torch

from penstock.ops.token_logprobs import token_logprobs, token_logprobs_twin
from triton_checks import Kernel, check_compiled


@pytest.mark.parametrize(("width", "most"), [(1, 1), (130, 5), (2500, 3), (2500, 0)])
def test_they_equal_the_twin(width: int, most: int, place: torch.device) -> None:
    logits = (torch.randn(4, width, generator=torch.Generator().manual_seed(width)) * 3).bfloat16().float()
    logits[0, ::2] = 0.0
    logits[0, 1::2] = -0.0
    if width > 1:
        logits[1, 1:] = -torch.inf
    tokens = torch.tensor([width - 1, 0, width // 2, width // 3])
    num_top = torch.tensor([0, most, most // 2, min(most, 1)])
    got = token_logprobs(logits.to(place), tokens.to(place), num_top.to(place))
    want = token_logprobs_twin(logits, tokens, num_top)
    assert torch.equal(got.ranks_R.cpu(), want.ranks_R)
    finite = want.logprobs_RK > -torch.inf  # places of -inf are in no particular order
    assert torch.equal(got.ids_RK.cpu()[finite], want.ids_RK[finite])
    torch.testing.assert_close(got.logprobs_RK.cpu(), want.logprobs_RK, rtol=1e-5, atol=1e-5)


def test_it_compiles() -> None:
    pytest.importorskip("triton")
    signature = {"logits": "*fp32", "tokens": "*i64", "ids": "*i64", "logprobs": "*fp32", "ranks": "*i64"}
    signature |= {"width": "i32", "most": "i32", "block": "constexpr"}
    path = "penstock.ops.triton.token_logprobs:logprobs_kernel"
    check_compiled([Kernel(path, signature, {"block": 2048}, num_warps=8, aligned=("logits", "width"))])
