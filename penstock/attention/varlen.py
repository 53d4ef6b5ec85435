"""Rows of several tokens by PyTorch's own flash attention, the others and the KV memory by Triton's kernels.

torch 2.12 reads keys through a block table, but only of blocks of a multiple of 256 tokens; torch 2.11, and all of them
with smaller blocks, get the keys of those rows copied together. Rows of one token could be recorded with neither.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn

from penstock.attention.base import AttentionSpec
from penstock.attention.context import AttentionStep
from penstock.attention.triton_paged import TritonMetadata, TritonPagedAttention

OLDEST = (8, 0)  # compute capability
PAGE = 256  # tokens; the kernels of torch want blocks of a multiple of it
PARAMETERS = frozenset(inspect.signature(varlen_attn).parameters)


@dataclass(frozen=True)
class VarlenMetadata(TritonMetadata):
    """A step with rows of more than one token. Rows of one have no keys here.

    Attributes:
        longest_query, longest_keys: of any row.
        keys: arguments that say which keys a row has.
        block_K, offset_K: places of all rows' keys, row after row; None where keys are read through the block table.
    """

    longest_query: int
    longest_keys: int
    keys: dict[str, Any]
    block_K: torch.Tensor | None
    offset_K: torch.Tensor | None


class VarlenAttention(TritonPagedAttention):
    """See `AttentionBackend`."""

    @classmethod
    def refusal(cls, spec: AttentionSpec) -> str | None:
        if spec.device.type == "cpu":
            return "torch's flash attention is for GPUs"
        if spec.device.type == "cuda" and torch.cuda.get_device_capability(spec.device) < OLDEST:
            return "torch's flash attention needs compute capability 8.0"
        if spec.dtype not in (torch.bfloat16, torch.float16) or spec.kv_dtype != str(spec.dtype).removeprefix("torch."):
            kinds = f"{spec.dtype} with {spec.kv_dtype} keys"
            return f"torch's flash attention computes in bfloat16 and float16 alone, not {kinds}"
        if spec.layout.head_dim % 8:
            return f"torch's flash attention needs a head_dim that is a multiple of 8, not {spec.layout.head_dim}"
        if spec.batch_invariant:
            return "torch's flash attention does not keep bits the same however a prompt is cut"
        return super().refusal(spec)

    def build(self, step: AttentionStep) -> TritonMetadata:
        meta = super().build(step)
        if not meta.longer:
            return meta
        lens = [c if q > 1 else 0 for q, c in zip(step.query_lens, step.context_lens, strict=True)]
        # Once more on the device: copying the list there would wait for all that was issued before.
        lens_R = torch.where(meta.lens.query_starts_N.diff() > 1, meta.lens.context_lens_R, 0)
        block_K = offset_K = None
        if "block_table" in PARAMETERS and self.block_size % PAGE == 0:
            keys: dict[str, Any] = {"cu_seq_k": None, "seqused_k": lens_R, "block_table": meta.tables_RB}
        else:
            ends_R, total = lens_R.cumsum(0, dtype=torch.int32), sum(lens)
            keys = {"cu_seq_k": torch.cat([ends_R.new_zeros(1), ends_R])}
            row_K = torch.repeat_interleave(torch.arange(len(lens), device=self.device), lens_R, output_size=total)
            place_K = torch.arange(total, device=self.device) - (ends_R - lens_R)[row_K]
            block_K = meta.tables_RB[row_K, place_K // self.block_size].long()
            offset_K = place_K % self.block_size
        return VarlenMetadata(**vars(meta), longest_query=max(step.query_lens), longest_keys=max(lens), keys=keys,
                              block_K=block_K, offset_K=offset_K)  # fmt: skip

    def _attend_longer(self, layer: int, q_TN: torch.Tensor, out_TN: torch.Tensor, meta: TritonMetadata) -> None:
        assert isinstance(meta, VarlenMetadata)
        memory = self._memory[layer]
        if meta.block_K is None:
            k, v = (memory[:, i].transpose(1, 2) for i in (0, 1))
        else:
            k, v = (memory[:, i][meta.block_K, :, meta.offset_K] for i in (0, 1))
        window = self.layout.windows[layer]
        back = -1 if window is None else window - 1
        options: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in PARAMETERS else {}
        out_THD = varlen_attn(
            q_TN.unflatten(1, (self.layout.num_heads, self.layout.head_dim)),
            k,
            v,
            meta.lens.query_starts_N,
            max_q=meta.longest_query,
            max_k=meta.longest_keys,
            scale=self.layout.scale,
            window_size=(back, 0 if self.layout.causal else back),
            **meta.keys,
            **options,
        )
        assert isinstance(out_THD, torch.Tensor)
        out_TN.copy_(out_THD.flatten(1))
