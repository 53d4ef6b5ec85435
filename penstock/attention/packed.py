"""Paged attention by the C++ kernels: keys and values lie in the shape in which products stream them.

Online softmax over key tiles at absolute positions, as in torch_paged.py, its twin; the norms and the rotation of heads
and the write of keys and values are one kernel before it. What it keeps of 8-bit types is in docs/kv-cache.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from penstock.attention.base import AttentionBackend, AttentionSpec, HeadNorms
from penstock.attention.context import AttentionStep
from penstock.ops import kernels
from penstock.ops.lazy_zeros import lazy_zeros

KV_CODES = {"float32": 0, "bfloat16": 1, "float16": 2, "fp8_e4m3": 3, "fp8_e5m2": 4, "int8": 5}  # csrc/kv_store.h
DEEPEST = 512
NO_WINDOW = 1 << 40
AHEAD_TOKENS, AHEAD_BYTES = 1 << 14, 1 << 30  # how much memory beyond what was used an idle engine takes, at most
AT_ONCE = 2 << 20  # in one layer: a huge page
PAGE = 4096


@dataclass(frozen=True)
class PackedMetadata:
    """A step's arrays as the kernels read them: int32, slots int64."""

    query_lens_R: torch.Tensor
    context_lens_R: torch.Tensor
    tables_RB: torch.Tensor
    slots_T: torch.Tensor


class PackedAttention(AttentionBackend):
    """How a block's keys and values lie is in csrc/kv_store.h."""

    pads = True

    def __init__(self, spec: AttentionSpec):
        super().__init__(spec)
        layout = spec.layout
        assert layout.num_heads % layout.num_kv_heads == 0
        self._group = layout.num_heads // layout.num_kv_heads
        self._type = kernels.TYPE_CODES[spec.dtype]
        self._store = kernels.native.KVStore(
            KV_CODES[spec.kv_dtype], layout.num_kv_heads, layout.head_dim, spec.block_size
        )
        self._blocks_of_page = max(1, AT_ONCE // self._store.block_bytes())
        self._windows = [NO_WINDOW if window is None else window for window in layout.windows]
        self._memory: list[torch.Tensor] = []  # uint8, per layer
        self._data: list[int] = []
        self._used = 0  # the last block that any step knew; blocks are handed out in ascending order at first
        self._taken = (0, 0)  # a block and a layer: the memory of those before is there, what was never used included

    @classmethod
    def refusal(cls, spec: AttentionSpec) -> str | None:
        layout = spec.layout
        if spec.device.type != "cpu":
            return f"its kernels compute on the CPU, not on {spec.device.type}"
        if kernels.native is None:
            return "the C++ kernels are not in use here"
        if spec.dtype not in kernels.TYPE_CODES:
            return f"there are no kernels for {spec.dtype}"
        if spec.block_size % 8 or layout.head_dim % 2 or layout.head_dim > DEEPEST:
            return (
                f"block_size {spec.block_size} must be a multiple of 8, "
                f"head_dim {layout.head_dim} even and <= {DEEPEST}"
            )
        return None

    def bytes_per_block(self) -> int:
        size: int = self._store.block_bytes()
        return size * self.layout.num_kept_layers

    def allocate(self, num_blocks: int) -> None:
        size = (num_blocks, self._store.block_bytes())
        layers = range(self.layout.num_kept_layers)
        self._memory = [lazy_zeros(size, torch.uint8, self.device, huge_pages=True) for _ in layers]
        self._data = [self._memory[i % len(layers)].data_ptr() for i in range(self.layout.num_layers)]
        self._used, self._taken = 0, (1, 0)

    def idle(self) -> bool:
        """Take memory for the next new blocks in one layer. Where the system has to fetch it, a step that enters new
        blocks would take much longer than others."""
        return self._take(min(AHEAD_TOKENS // self.block_size, AHEAD_BYTES // self.bytes_per_block()))

    def _take(self, ahead: int) -> bool:
        """One page of memory, if some of the next `ahead` new blocks has none; whether it had."""
        block, layer = max(self._taken, (self._used + 1, 0))
        blocks = self._memory[layer][block : self._used + 1 + ahead][: self._blocks_of_page]
        if not len(blocks):
            return False
        blocks.view(-1)[::PAGE].zero_()  # as it reads already: no step has written there
        last = layer + 1 == len(self._memory)
        self._taken = (block + len(blocks), 0) if last else (block, layer + 1)
        return True

    def expect(self, step: AttentionStep) -> None:
        if self._used + 1 < len(self._memory[0]):
            self._used = max(self._used, int(step.block_tables_RB.max()))
            self._take_share(step.slots_T.shape[0])

    def _take_share(self, tokens: int) -> None:
        """Take the pages that so many new tokens need on average. Every so often small steps enter a new page, in all
        layers at once: that step would take as long as several others."""
        page_tokens = self._blocks_of_page * self.block_size
        for _ in range(-(-tokens * len(self._memory) // page_tokens) if tokens < page_tokens else 0):
            if not self._take(2 * self._blocks_of_page):
                break

    def build_padded(self, step: AttentionStep, max_context: int) -> PackedMetadata:
        assert step.lens is not None
        ones_R = torch.ones_like(step.lens.context_lens_R)
        return PackedMetadata(ones_R, step.lens.context_lens_R, step.block_tables_RB, step.slots_T)

    def build(self, step: AttentionStep) -> PackedMetadata:
        self.expect(step)
        return PackedMetadata(
            torch.tensor(step.query_lens, dtype=torch.int32),
            torch.tensor(step.context_lens, dtype=torch.int32),
            step.block_tables_RB.contiguous(),
            step.slots_T,
        )

    def attend(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None,
        meta: PackedMetadata,
    ) -> torch.Tensor:
        assert qkv_TN.is_contiguous()
        assert qkv_TN.dtype == self.dtype
        layout, data, qkv = self.layout, self._data[layer], qkv_TN.data_ptr()
        (tokens, width), (rows, blocks) = qkv_TN.shape, meta.tables_RB.shape
        cos_TF, sin_TF = angles
        kernels.native.store_qkv(
            self._store,
            data,
            self._type,
            qkv,
            norms.q_weight_D.data_ptr() if norms else 0,
            norms.k_weight_D.data_ptr() if norms else 0,
            norms.eps if norms else 0.0,
            cos_TF.data_ptr(),
            sin_TF.data_ptr(),
            cos_TF.shape[1],
            meta.slots_T.data_ptr(),
            tokens,
            layout.num_heads,
        )
        out_TN = qkv_TN.new_empty(tokens, layout.num_heads * layout.head_dim)
        attend = kernels.native.paged_attention if layout.causal else kernels.native.bidirectional_attention
        attend(
            self._store,
            data,
            self._type,
            qkv,
            width,
            out_TN.data_ptr(),
            self._group,
            layout.scale,
            self._windows[layer],
            meta.query_lens_R.data_ptr(),
            meta.context_lens_R.data_ptr(),
            rows,
            meta.tables_RB.data_ptr(),
            blocks,
        )
        return out_TN
