"""Cuts a ragged batch into blocks of query rows of a few fixed heights, and says which key tiles each one meets.

A query row is one query head of one token, for one key/value head: row = token * group + member. Tiles lie at absolute
positions, so how a step was cut shows only in which rows share a block, and that never changes a row's bits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from penstock.attention.context import AttentionStep
from penstock.ops.linear import RowPlan

# Dimensions in tensor names: I blocks, M query rows of a block, C blocks that meet a tile, K keys of a tile.


@dataclass(frozen=True)
class Tile:
    """The j-th key tile of the first `count` blocks (they are sorted by their number of tiles).

    Attributes:
        unit_ids: int64, units (whole KV blocks, or parts of one) of the count tiles, one after the other.
        mask_C1MK: 0 where a row sees a key, -inf elsewhere; None if all see all.
    """

    count: int
    unit_ids: torch.Tensor
    mask_C1MK: torch.Tensor | None


@dataclass(frozen=True)
class QueryBlocks:
    """Blocks of equal height that are computed together.

    Attributes:
        rows_IM: int64, which query rows of the step they hold; padding repeats a block's last row.
        filled, targets: int64, places in rows_IM that are no padding, and the query rows they stand for.
    """

    rows_IM: torch.Tensor
    filled: torch.Tensor
    targets: torch.Tensor
    tiles: list[Tile]


class _Piece(NamedTuple):
    """Query rows start..stop of the step, of batch row `row`, and the key tiles that they meet."""

    start: int
    stop: int
    row: int
    first_tile: int
    num_tiles: int


def cut(
    step: AttentionStep,
    group: int,
    plan: RowPlan,
    *,
    tile: int,
    unit: int,
    block_size: int,
    window: int | None,
    at_once: dict[int, int],
    causal: bool = True,
) -> list[QueryBlocks]:
    """All query blocks of a step.

    Args:
        group: query heads per key/value head.
        plan: heights a block may have.
        tile: keys per tile.
        unit: keys that lie together in memory; tile and block_size are multiples of it.
        window: how many tokens back (itself included) a token sees; None for all.
        at_once: height -> how many blocks to compute together.
        causal: a token sees nothing behind itself; otherwise as far as back.
    """
    by_height: dict[int, list[_Piece]] = defaultdict(list)
    for height, piece in _pieces(step, group, plan, tile, window, causal):
        by_height[height].append(piece)
    tables = _tables_by_tile(step.block_tables_RB, block_size // unit, tile // unit)
    positions = step.positions_T.cpu().numpy()
    lasts = positions if causal else _lasts(step, positions, window)
    blocks = []
    for height, pieces in by_height.items():
        pieces.sort(key=lambda p: -p.num_tiles)
        for i in range(0, len(pieces), at_once[height]):
            some = pieces[i : i + at_once[height]]
            rows_IM, filled = _rows(some, height)
            query_IM, last_IM = positions[rows_IM // group], lasts[rows_IM // group]
            tiles = _tiles(some, query_IM, last_IM, tables, tile, window, step.slots_T.device)
            device = step.slots_T.device
            targets = torch.from_numpy(rows_IM.reshape(-1)[filled]).to(device)
            blocks.append(
                QueryBlocks(torch.from_numpy(rows_IM).to(device), torch.from_numpy(filled).to(device), targets, tiles)
            )
    return blocks


def _pieces(
    step: AttentionStep, group: int, plan: RowPlan, tile: int, window: int | None, causal: bool
) -> Iterator[tuple[int, _Piece]]:
    row_start = 0
    cuts: dict[int, list[tuple[int, int, int]]] = {}  # by length: in most steps nearly all rows have one token
    for row, (length, context) in enumerate(zip(step.query_lens, step.context_lens, strict=True)):
        if length not in cuts:
            cuts[length] = list(plan.pieces(length * group))
        for start, stop, height in cuts[length]:
            first = context - length + start // group
            last = context - length + (stop - 1) // group
            if not causal:
                last = context - 1 if window is None else min(context - 1, last + window - 1)
            first_tile = 0 if window is None else max(0, first - window + 1) // tile
            yield height, _Piece(row_start + start, row_start + stop, row, first_tile, last // tile - first_tile + 1)
        row_start += length * group


def _tables_by_tile(tables_RB: torch.Tensor, units_per_block: int, units_per_tile: int) -> np.ndarray:
    """Unit ids, int64 [R, tiles, units per tile]; what is missing in the last tile is from the null block."""
    blocks = tables_RB.cpu().numpy().astype(np.int64)
    units = (blocks[:, :, None] * units_per_block + np.arange(units_per_block)).reshape(blocks.shape[0], -1)
    missing = -units.shape[1] % units_per_tile
    return np.pad(units, ((0, 0), (0, missing))).reshape(units.shape[0], -1, units_per_tile)


def _lasts(step: AttentionStep, positions: np.ndarray, window: int | None) -> np.ndarray:
    """The last token that each one sees, where it sees ahead."""
    ends = np.repeat(np.array(step.context_lens, np.int64), step.query_lens) - 1
    return ends if window is None else np.minimum(ends, positions + window - 1)


def _rows(pieces: list[_Piece], height: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows_IM, filled) of `QueryBlocks`."""
    starts, stops = np.array([p[:2] for p in pieces], dtype=np.int64).T
    rows_IM = starts[:, None] + np.arange(height)
    filled = np.flatnonzero(rows_IM < stops[:, None])
    return np.minimum(rows_IM, stops[:, None] - 1), filled


def _tiles(
    pieces: list[_Piece],
    query_IM: np.ndarray,
    last_IM: np.ndarray,
    tables: np.ndarray,
    tile: int,
    window: int | None,
    device: torch.device,
) -> list[Tile]:
    batch_rows, first_tiles, num_tiles = np.array([p[2:] for p in pieces], dtype=np.int64).T
    tiles = []
    for j in range(num_tiles[0]):
        count = int(np.count_nonzero(num_tiles > j))
        index = first_tiles[:count] + j
        ids = torch.from_numpy(tables[batch_rows[:count], index].reshape(-1)).to(device)
        tiles.append(Tile(count, ids, _mask(query_IM[:count], last_IM[:count], index * tile, tile, window, device)))
    return tiles


def _mask(
    query_CM: np.ndarray,
    last_CM: np.ndarray,
    start_C: np.ndarray,
    tile: int,
    window: int | None,
    device: torch.device,
) -> torch.Tensor | None:
    all_past = (start_C + tile - 1 <= last_CM.min(1)).all()
    all_inside = window is None or (start_C > query_CM.max(1) - window).all()
    if all_past and all_inside:
        return None
    key_C1K = (start_C[:, None] + np.arange(tile))[:, None, :]
    seen = key_C1K <= last_CM[:, :, None]
    if window is not None:
        seen = seen & (key_C1K > query_CM[:, :, None] - window)
    mask = np.where(seen, np.float32(0), np.float32(-np.inf))
    return torch.from_numpy(mask).to(device).unsqueeze(1)
