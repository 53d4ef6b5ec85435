"""The kernel equals its twin on every instruction set here: ids and ranks exactly, values closely."""

from __future__ import annotations

import pytest
import torch

from penstock.ops import kernels
from penstock.ops.token_logprobs import TopLogprobs, token_logprobs, token_logprobs_twin


def logits_of(rows: int, vocab_size: int, levels: int) -> torch.Tensor:
    """Rows of about `levels` distinct values, so with ties."""
    generator = torch.Generator().manual_seed(vocab_size)
    return torch.randint(-levels, levels, (rows, vocab_size), generator=generator).float() * (8 / levels)


def check_equal(got: TopLogprobs, want: TopLogprobs, num_top: torch.Tensor) -> None:
    assert torch.equal(got.ranks_R, want.ranks_R)
    for row, n in enumerate(num_top.tolist()):
        assert torch.equal(got.ids_RK[row, : n + 1], want.ids_RK[row, : n + 1])
        torch.testing.assert_close(got.logprobs_RK[row, : n + 1], want.logprobs_RK[row, : n + 1], atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("levels", [2, 60, 1_000_000])
@pytest.mark.parametrize("vocab_size", [1, 100, 128, 1000, 33_000])
def test_equals_its_twin(instruction_set: str, vocab_size: int, levels: int) -> None:
    x = logits_of(7, vocab_size, levels)
    tokens = torch.arange(7) * 5003 % vocab_size
    for most in (0, 1, 20, 300, vocab_size):
        num_top = (torch.arange(7) * 7 % (most + 1)).clamp(max=vocab_size)
        num_top[3] = min(most, vocab_size)
        check_equal(token_logprobs(x, tokens, num_top), token_logprobs_twin(x, tokens, num_top), num_top)


def test_values_are_those_of_float64(instruction_set: str) -> None:
    x = torch.randn(4, 50_000, generator=torch.Generator().manual_seed(1)) * 3
    got = token_logprobs(x, torch.tensor([0, 1, 2, 49_999]), torch.full((4,), 20))
    want = x.double().log_softmax(-1).gather(1, got.ids_RK)
    torch.testing.assert_close(got.logprobs_RK.double(), want, atol=1e-6, rtol=1e-6)


def test_rows_do_not_depend_on_each_other_nor_on_how_much_they_want(instruction_set: str) -> None:
    x, tokens = logits_of(9, 9001, 1000), torch.arange(9)
    few, many = torch.full((9,), 3), torch.full((9,), 400)
    for threads in (1, 2):
        kernels.use_threads(threads)
        together, more = token_logprobs(x, tokens, few), token_logprobs(x, tokens, many)
        assert torch.equal(more.logprobs_RK[:, :4], together.logprobs_RK)
        assert torch.equal(more.ids_RK[:, :4], together.ids_RK)
        for i in range(9):
            alone = token_logprobs(x[i : i + 1], tokens[i : i + 1], few[:1])
            assert torch.equal(alone.logprobs_RK[0], together.logprobs_RK[i])
            assert alone.ranks_R[0] == together.ranks_R[i]


def test_a_row_with_nan_harms_no_other(instruction_set: str) -> None:
    x = logits_of(2, 600, 100)
    clean = token_logprobs(x[1:], torch.tensor([4]), torch.tensor([2]))
    x[0, 17] = torch.nan
    got = token_logprobs(x, torch.tensor([4, 4]), torch.tensor([600, 2]))
    assert got.logprobs_RK[0, :601].isnan().all()
    assert torch.equal(got.logprobs_RK[1, :3], clean.logprobs_RK[0])


def test_forbidden_tokens_come_last(instruction_set: str) -> None:
    x = torch.full((1, 300), -torch.inf)
    x[0, [5, 290]] = torch.tensor([1.0, 2.0])
    got = token_logprobs(x, torch.tensor([7]), torch.tensor([300]))
    assert got.ids_RK[0, 1:3].tolist() == [290, 5]
    assert sorted(got.ids_RK[0, 1:].tolist()) == list(range(300))
    assert got.logprobs_RK[0, 3:].eq(-torch.inf).all()
    assert got.ranks_R.item() == 9  # after 290 and 5, and the six with lower ids: 0 to 4, and 6
