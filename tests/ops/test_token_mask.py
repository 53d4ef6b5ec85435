"""Packed masks on logits: the op equals its twin, and touches only the rows it is given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from penstock.ops.token_mask import apply_token_mask, apply_token_mask_twin


@pytest.mark.parametrize("width", [1, 31, 32, 33, 1000])
@pytest.mark.parametrize("rows", [[0], [2, 0], [0, 1, 2, 3]])
def test_equals_its_twin(rows: list[int], width: int) -> None:
    rng = np.random.default_rng(width)
    masks = rng.integers(-(2**31), 2**31, (len(rows), (width + 31) // 32)).astype(np.int32)
    logits = torch.randn(4, width, generator=torch.Generator().manual_seed(width))
    mine, twin = logits.clone(), logits.clone()
    apply_token_mask(mine, rows, masks)
    apply_token_mask_twin(twin, rows, masks)
    assert torch.equal(mine, twin)
    for row in range(4):
        mask = masks[rows.index(row)] if row in rows else None
        for token in range(width):
            is_allowed = mask is None or (int(mask[token >> 5]) >> (token & 31)) & 1
            assert mine[row, token] == (logits[row, token] if is_allowed else -torch.inf)


@pytest.mark.parametrize("apply", [apply_token_mask, apply_token_mask_twin])
def test_where_all_that_is_allowed_was_forbidden_the_mask_wins(apply: Callable[..., None]) -> None:
    logits = torch.tensor([[1.0, -torch.inf, 2.0, -torch.inf]] * 2)
    apply(logits, [0, 1], np.array([[0b1010], [0b0110]], np.int32))
    inf = torch.inf
    assert logits.tolist() == [[-inf, 0.0, -inf, 0.0], [-inf, -inf, 2.0, -inf]]
