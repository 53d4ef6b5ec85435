"""Attention by FlashInfer (https://docs.flashinfer.ai), an optional package, over the memory that Triton's store fills.

That memory is what FlashInfer calls HND. A step of one token in each row goes to its wrapper for decoding, any other to
the one for prompts. Both are planned on the host for each step, so that steps are recorded around attention alone.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from penstock.attention.base import AttentionSpec
from penstock.attention.context import AttentionStep
from penstock.attention.triton_paged import TritonMetadata, TritonPagedAttention
from penstock.errors import StartError
from penstock.observability.logging import get_logger

logger = get_logger(__name__)

MEMORY_LAYOUT = "HND"
HEAD_DIMS = (64, 128, 256)
WORKSPACE_BYTES = 384 << 20  # for the parts of rows that are cut; shared by all wrappers, which run one after the other


@dataclass(frozen=True)
class FlashInferMetadata(TritonMetadata):
    """All rows of the step are `longer` ones here.

    Attributes:
        wrappers: planned for this step, by the window of a layer.
    """

    wrappers: dict[int | None, Any]


class FlashInferAttention(TritonPagedAttention):
    """See `AttentionBackend`."""

    pads = False  # a plan is for the lengths of one step

    def __init__(self, spec: AttentionSpec):
        super().__init__(spec)
        self._planned: torch.cuda.Event | None = None
        logger.info("FlashInfer may compile its kernels now, which takes some minutes the first time.")
        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=spec.device)
        try:
            flashinfer = importlib.import_module("flashinfer")
            decode = flashinfer.BatchDecodeWithPagedKVCacheWrapper
            prefill = flashinfer.BatchPrefillWithPagedKVCacheWrapper
            windows = dict.fromkeys(self.layout.windows)
            self._decode = {w: decode(workspace, MEMORY_LAYOUT, use_tensor_cores=True) for w in windows}
            self._prefill = {w: prefill(workspace, MEMORY_LAYOUT) for w in windows}
            for queries in (1, 2):  # planning loads the kernels
                self._plan([queries], [queries], torch.zeros(1, dtype=torch.int32, device=spec.device))
        except Exception as e:  # boundary: another project's compiler
            why = (str(e).splitlines() or [""])[0]
            raise StartError(
                f"--attention-backend flashinfer: its kernels are not to be had ({type(e).__name__}: {why}). It "
                "compiles them by nvcc (set CUDA_HOME), unless the package flashinfer-jit-cache is installed."
            ) from e

    @classmethod
    def refusal(cls, spec: AttentionSpec) -> str | None:
        layout = spec.layout
        if spec.device.type != "cuda":
            return "FlashInfer is for NVIDIA GPUs"
        if spec.dtype not in (torch.bfloat16, torch.float16):
            return f"FlashInfer computes in bfloat16 and float16, not in {str(spec.dtype).removeprefix('torch.')}"
        if spec.kv_dtype != str(spec.dtype).removeprefix("torch."):
            return f"FlashInfer has no scales for each token, which keys and values in {spec.kv_dtype} have here"
        if layout.head_dim not in HEAD_DIMS:
            return f"FlashInfer has kernels for a head_dim of {', '.join(map(str, HEAD_DIMS))}, not {layout.head_dim}"
        if not layout.causal and any(layout.windows):
            return "FlashInfer's windows look back alone, and this model's look ahead, too"
        if spec.batch_invariant:
            return "FlashInfer does not keep bits the same however a prompt is cut"
        if importlib.util.find_spec("flashinfer") is None:
            return 'FlashInfer is not installed (pip install "penstock[flashinfer]")'
        return super().refusal(spec)

    def build(self, step: AttentionStep) -> TritonMetadata:
        meta = super().build(step)
        counts_R = (meta.lens.context_lens_R + (self.block_size - 1)) // self.block_size
        total = sum(-(-c // self.block_size) for c in step.context_lens)
        rows_R = torch.arange(len(step.context_lens), device=self.device)
        row_B = torch.repeat_interleave(rows_R, counts_R, output_size=total)
        place_B = torch.arange(total, device=self.device) - (counts_R.cumsum(0) - counts_R)[row_B]
        wrappers = self._plan(step.query_lens, step.context_lens, meta.tables_RB[row_B, place_B])
        return FlashInferMetadata(**vars(meta) | {"single": False, "longer": True}, wrappers=wrappers)

    def _plan(self, query_lens: list[int], context_lens: list[int], blocks_B: torch.Tensor) -> dict[int | None, Any]:
        """The wrappers for such a step.

        Args:
            blocks_B: int32, on the device: the blocks of all rows, row after row.
        """
        size, layout = self.block_size, self.layout
        counts = [-(-c // size) for c in context_lens]
        last_R = self._host([c - (n - 1) * size for c, n in zip(context_lens, counts, strict=True)])
        places = (self._host([0, *accumulate(counts)]), blocks_B, last_R)
        shape = (layout.num_heads, layout.num_kv_heads, layout.head_dim, size)
        common = dict(sm_scale=layout.scale, q_data_type=self.dtype, kv_data_type=self.dtype, non_blocking=True)
        if self._planned is not None:
            self._planned.synchronize()  # plans pass through host buffers that the last copy may not have left yet
        decodes = max(query_lens) == 1
        wrappers = self._decode if decodes else self._prefill
        starts = self._host([0, *accumulate(query_lens)])
        for window, wrapper in wrappers.items():
            options = common | {"window_left": -1 if window is None else window - 1}
            if decodes:
                wrapper.plan(*places, *shape, **options)
            else:
                wrapper.plan(starts, *places, *shape, causal=layout.causal, **options)
        if self.device.type == "cuda":
            self._planned = torch.cuda.current_stream(self.device).record_event()
        return wrappers

    def _host(self, numbers: list[int]) -> torch.Tensor:
        """On the host, where plans are made; pinned, so that copying it does not wait for the device."""
        return torch.tensor(numbers, dtype=torch.int32, pin_memory=self.device.type == "cuda")

    def _attend_longer(self, layer: int, q_TN: torch.Tensor, out_TN: torch.Tensor, meta: TritonMetadata) -> None:
        assert isinstance(meta, FlashInferMetadata)
        heads = (self.layout.num_heads, self.layout.head_dim)
        wrapper = meta.wrappers[self.layout.windows[layer]]
        wrapper.run(q_TN.unflatten(1, heads), self._memory[layer], out=out_TN.unflatten(1, heads))
