"""Orders a row of logits: the most likely token, the k most likely, and the rank of one.

The order is total: larger values first, equal values by token id. So no result depends on k, on the other rows, or on
how a kernel happens to break ties. Sorting a whole row is the last resort.
"""

from __future__ import annotations

import torch

# Dimensions in tensor names: R rows, V vocabulary, K candidates, B tokens of a block.
_BLOCK = 128


def first_max(x_RV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest value of each row and the lowest id that has it; a NaN counts as the largest.

    Two levels, because torch's argmax is scalar and its amax is vectorised: maxima of blocks, then the block's argmax.
    """
    num_blocks = x_RV.shape[1] // _BLOCK
    if num_blocks < 4:
        ids_R1 = x_RV.argmax(-1, keepdim=True)
        return x_RV.gather(1, ids_R1).squeeze(1), ids_R1.squeeze(1)
    body = num_blocks * _BLOCK
    blocks_RNB = x_RV[:, :body].unflatten(1, (num_blocks, _BLOCK))
    maxima = blocks_RNB.amax(-1)
    block_R1 = maxima.argmax(-1, keepdim=True)
    rows_R = torch.arange(x_RV.shape[0], device=x_RV.device)
    best_RB = blocks_RNB[rows_R, block_R1.squeeze(1)]
    inside_R1 = best_RB.argmax(-1, keepdim=True)
    values_R1, ids_R1 = best_RB.gather(1, inside_R1), block_R1 * _BLOCK + inside_R1
    if body < x_RV.shape[1]:
        tail_values, tail_ids = x_RV[:, body:].max(-1, keepdim=True)
        later = (tail_values > values_R1) | (tail_values.isnan() & ~values_R1.isnan())
        values_R1 = torch.where(later, tail_values, values_R1)
        ids_R1 = torch.where(later, tail_ids + body, ids_R1)
    return values_R1.squeeze(1), ids_R1.squeeze(1)


def top_candidates(x_RV: torch.Tensor, k: int) -> torch.Tensor:
    """Ids of the k largest values of each row, in order: int64 [R, K]. Places of -inf are in no particular order."""
    vocab_size = x_RV.shape[1]
    if k >= vocab_size:
        return _whole_order(x_RV)
    values, ids = x_RV.topk(k + 1, dim=-1)
    tied = values[:, 1:] == values[:, :-1]
    finite = values[:, 1:] != -torch.inf
    tied &= finite
    if not tied.any():
        return ids[:, :k]
    cut_R = tied[:, k - 1].nonzero().squeeze(1)
    values, ids = values[:, :k].contiguous(), ids[:, :k].contiguous()
    if cut_R.numel():
        ids[cut_R] = _lowest_ids_at_the_cut(x_RV[cut_R], values[cut_R], ids[cut_R])
    order = ids.argsort(dim=-1)
    ids, values = ids.gather(1, order), values.gather(1, order)
    return ids.gather(1, values.sort(dim=-1, descending=True, stable=True).indices)


def _whole_order(x_RV: torch.Tensor) -> torch.Tensor:
    """All ids in order, by one sort of distinct int64 keys: the value's bits, made to descend, above the id.

    Several times faster than torch's stable sort of values with indices, since numpy's sort is vectorised.
    """
    bits_RV = (x_RV + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal to 0.0
    descending_RV = torch.where(bits_RV < 0, bits_RV & 0x7FFFFFFF, ~bits_RV).to(torch.int64)
    keys_RV = (descending_RV << 32) | torch.arange(x_RV.shape[1], device=x_RV.device)
    if keys_RV.device.type == "cpu":
        keys_RV.numpy().sort(axis=-1)
    else:
        keys_RV = keys_RV.sort(dim=-1).values
    return keys_RV & 0xFFFFFFFF


def _lowest_ids_at_the_cut(x_RV: torch.Tensor, values_RK: torch.Tensor, ids_RK: torch.Tensor) -> torch.Tensor:
    """Replaces the candidates that equal the last one by the lowest ids that have this value."""
    cut_value_R1 = values_RK[:, -1:]
    num_above_R = (values_RK > cut_value_R1).sum(-1)
    row_E, id_E = (x_RV == cut_value_R1).nonzero(as_tuple=True)  # sorted by row, then by id
    counts_R = torch.bincount(row_E, minlength=x_RV.shape[0])
    place_E = torch.arange(row_E.numel(), device=row_E.device) - (counts_R.cumsum(0) - counts_R)[row_E]
    place_E += num_above_R[row_E]
    fits = place_E < ids_RK.shape[1]
    ids_RK = ids_RK.clone()
    ids_RK[row_E[fits], place_E[fits]] = id_E[fits]
    return ids_RK


def rank_of(x_RV: torch.Tensor, ids_R: torch.Tensor) -> torch.Tensor:
    """Place of each row's token in the order, from 1."""
    ids_R1 = ids_R.unsqueeze(1)
    value_R1 = x_RV.gather(1, ids_R1)
    columns_V = torch.arange(x_RV.shape[1], device=x_RV.device)
    ahead = (x_RV > value_R1) | ((x_RV == value_R1) & (columns_V < ids_R1))
    return ahead.sum(-1) + 1
