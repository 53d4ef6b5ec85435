"""One total order for the most likely token, the top ones and ranks, whatever ties there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from penstock.ops.ranking import first_max, rank_of, top_candidates


def rows(seed: int, count: int, vocab_size: int, levels: int) -> torch.Tensor:
    """Rows with about `levels` distinct values, so with many ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-levels, levels, (count, vocab_size), generator=generator).float() / 4


def plain_order(row: torch.Tensor) -> list[int]:
    return sorted(range(len(row)), key=lambda i: (-float(row[i]), i))


@pytest.mark.parametrize("vocab_size", [3, 97, 512, 700, 40_000])
@pytest.mark.parametrize("levels", [2, 40, 100_000])
def test_first_max_is_the_lowest_id_of_the_largest(vocab_size: int, levels: int) -> None:
    x = rows(vocab_size, 9, vocab_size, levels)
    values, ids = first_max(x)
    want = np.argmax(x.numpy(), axis=-1)
    assert ids.tolist() == want.tolist()
    assert torch.equal(values, x[torch.arange(9), ids])


@pytest.mark.parametrize("place", [0, 130, 511, 600])
def test_first_max_reports_a_nan(place: int) -> None:
    x = rows(1, 2, 601, 50)
    x[1, place] = torch.nan
    values, ids = first_max(x)
    assert not values[0].isnan()
    assert values[1].isnan()
    assert ids[1] == place


@pytest.mark.parametrize("levels", [1, 3, 30, 1_000_000])
@pytest.mark.parametrize("k", [1, 2, 7, 64, 299, 300, 400])
def test_top_candidates_are_the_head_of_the_order(levels: int, k: int) -> None:
    x = rows(k, 6, 300, levels)
    top = top_candidates(x, k)
    for row, ids in zip(x, top.tolist(), strict=True):
        assert ids == plain_order(row)[:k]


def test_the_whole_order_has_every_kind_of_value() -> None:
    x = torch.tensor([[0.0, -0.0, torch.inf, -1e-40, 1e-40, -torch.inf, 3e38, -3e38, -2.5, 2.5, -0.0]])
    assert top_candidates(x, 11)[0].tolist() == plain_order(x[0])


def test_forbidden_tokens_come_last() -> None:
    x = torch.full((2, 300), -torch.inf)
    x[0, [5, 290]] = 1.0
    x[1, 7] = -3.0
    top = top_candidates(x, 20)
    assert top[0, :2].tolist() == [5, 290]
    assert top[1, 0] == 7


def test_ranks_follow_the_order() -> None:
    x = rows(3, 1, 200, 20)
    order = plain_order(x[0])
    everywhere = rank_of(x.expand(200, 200), torch.arange(200)).tolist()
    assert [everywhere[i] for i in order] == list(range(1, 201))
