"""Forbids the tokens whose bits are not set in packed masks: their logits become -inf.

A row in which all that a mask allows is forbidden already gets equal logits for that: what comes last wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from penstock.ops import triton as triton_ops

# Dimensions in tensor names: S rows, R masked ones among them, W words of 32 tokens, V vocabulary.

_NEGATIVE_INFINITY = -0x800000  # its bits in float32, as an integer


def apply_token_mask(
    logits_SV: torch.Tensor,
    rows_R: Sequence[int],
    masks_RW: npt.NDArray[np.int32],
    copy_in: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Change float32 `logits_SV` in place.

    Args:
        rows_R: the row of each mask.
        masks_RW: int32, W = ceil(V / 32); bit i of word w stands for token 32 * w + i.
        copy_in: gives a tensor of the host, which nobody will change, as one that lies where the logits do, without
            waiting for them. None waits.
    """
    if triton_ops.wanted(logits_SV):
        copy_in = copy_in or (lambda tensor: tensor.to(logits_SV.device))
        index_R, words_RW = copy_in(torch.tensor(rows_R, dtype=torch.int64)), copy_in(torch.from_numpy(masks_RW))
        triton_ops.load("penstock.ops.triton.token_mask:apply_token_mask")(logits_SV, index_R, words_RW)
        return
    if not logits_SV.is_cpu:
        apply_token_mask_twin(logits_SV, rows_R, masks_RW)
        return
    bits_RV = np.unpackbits(masks_RW.view(np.uint8), axis=1, count=logits_SV.shape[1], bitorder="little")
    for row, bits_V in zip(rows_R, torch.from_numpy(bits_RV), strict=True):
        # 0.0 for what is allowed and -inf for the rest, without a branch per token: branches that are taken at random
        # cost ten times as much as the sum.
        offsets_V = bits_V.to(torch.int32).sub_(1).bitwise_and_(_NEGATIVE_INFINITY).view(torch.float32)
        logits_V = logits_SV[row].add_(offsets_V)
        if logits_V.amax() == -torch.inf:
            logits_V.copy_(offsets_V)


def apply_token_mask_twin(logits_SV: torch.Tensor, rows_R: Sequence[int], masks_RW: npt.NDArray[np.int32]) -> None:
    """The same in plain torch, on any device."""
    device, width = logits_SV.device, logits_SV.shape[1]
    words_RW = torch.from_numpy(masks_RW).to(device)
    bits_RWB = (words_RW.unsqueeze(-1) >> torch.arange(32, dtype=torch.int32, device=device)) & 1
    forbidden_RV = bits_RWB.flatten(1)[:, :width] == 0
    index_R = torch.tensor(rows_R, device=device)
    logits_RV = logits_SV[index_R].masked_fill(forbidden_RV, -torch.inf)
    nothing_R = logits_RV.amax(1, keepdim=True) == -torch.inf
    logits_SV[index_R] = logits_RV.masked_fill(nothing_R & ~forbidden_RV, 0.0)
