"""x @ weight.T + bias, with the same bits for a row whatever other rows share the call.

Libraries choose kernels by the number of rows, so only row counts that were seen to agree, on this machine and for
this very product, are used; `plan_rows` finds them once per weight shape. Other counts are padded or cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# Dimensions in tensor names: T rows, K input features, N output features.

BLOCK = 8
SIZES = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PAD_UP_TO = 64  # below this a call costs about the same whatever its rows: the weight must be read anyway
PROBE_FLOPS = 2.0e10  # larger calls are not worth probing: they gain nothing over several calls of this size
ALIGNMENT = 64  # bytes; torch allocates so, and some libraries compute differently on other addresses


@dataclass(frozen=True)
class RowPlan:
    """Row counts that agree to the bit, ascending."""

    sizes: tuple[int, ...] = (BLOCK,)

    def pieces(self, rows: int) -> Iterator[tuple[int, int, int]]:
        """(start, stop, size): rows start..stop are computed in a call of `size` rows, padded if that is more."""
        start = 0
        while start < rows:
            left = rows - start
            if left <= min(PAD_UP_TO, self.sizes[-1]):
                size = next(s for s in self.sizes if s >= left)
            else:
                size = max(s for s in self.sizes if s <= left)
            stop = min(rows, start + size)
            yield start, stop, size
            start = stop


def plan_rows(weight_NK: torch.Tensor, bias_N: torch.Tensor | None = None) -> RowPlan:
    """Try which row counts give the bits that blocks of 8 rows give.

    The weight should hold its real (or random) values: a zero matrix agrees with everything.
    """
    n, k = weight_NK.shape
    generator = torch.Generator(device=weight_NK.device).manual_seed(1)
    x_8K = torch.randn(BLOCK, k, generator=generator, device=weight_NK.device).to(weight_NK.dtype)
    want_8N = F.linear(x_8K, weight_NK, bias_N)
    rolled = torch.arange(3, 3 + BLOCK, device=weight_NK.device) % BLOCK
    if not torch.equal(F.linear(x_8K[rolled], weight_NK, bias_N), want_8N[rolled]):
        return RowPlan((1,))  # a row's place in a block matters here: one row per call is all that is left
    agreeing = [BLOCK]
    for size in SIZES[1:]:
        if 2.0 * size * n * k > PROBE_FLOPS and size > 4 * BLOCK:
            break
        order = (torch.arange(size, device=weight_NK.device) * 5 + 3) % BLOCK
        if torch.equal(F.linear(x_8K[order], weight_NK, bias_N), want_8N[order]):
            agreeing.append(size)
    return RowPlan(tuple(agreeing))


def linear(
    x_TK: torch.Tensor, weight_NK: torch.Tensor, bias_N: torch.Tensor | None = None, plan: RowPlan | None = None
) -> torch.Tensor:
    """[T, N]; a row's bits do not depend on T."""
    rows = x_TK.shape[0]
    pieces = list((plan or RowPlan()).pieces(rows))
    if len(pieces) == 1:
        return _block(x_TK, weight_NK, bias_N, pieces[0][2])[:rows]
    y_TN = x_TK.new_empty(rows, weight_NK.shape[0])
    for start, stop, size in pieces:
        y_TN[start:stop] = _block(x_TK[start:stop], weight_NK, bias_N, size)[: stop - start]
    return y_TN


def _block(x_RK: torch.Tensor, weight_NK: torch.Tensor, bias_N: torch.Tensor | None, size: int) -> torch.Tensor:
    missing = size - x_RK.shape[0]
    if missing:
        x_RK = F.pad(x_RK, (0, 0, 0, missing))
    elif x_RK.data_ptr() % ALIGNMENT or not x_RK.is_contiguous():
        x_RK = x_RK.clone(memory_format=torch.contiguous_format)
    return F.linear(x_RK, weight_NK, bias_N)
