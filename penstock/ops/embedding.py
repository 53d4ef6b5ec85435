"""Rows of a table by token id."""

from __future__ import annotations

import torch


def embedding(token_ids_T: torch.Tensor, table_VH: torch.Tensor) -> torch.Tensor:
    """[T, H]: a copy of the rows."""
    return table_VH.index_select(0, token_ids_T)
