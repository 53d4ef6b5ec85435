"""Paged attention by Triton kernels, for GPUs; on a CPU only in Triton's interpreter, for tests.

A layer's memory is one tensor [block, key or value, kv head, offset, dim]: what one head of a block keeps lies
together, so that tiles are read in whole lines. Codes of 8 bits have scales [block, key or value, kv head, offset].
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

import torch

from penstock.attention.base import AttentionBackend, AttentionSpec, HeadNorms
from penstock.attention.context import AttentionStep, DeviceLens
from penstock.ops import triton as triton_ops

STORE_DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "fp8_e4m3": torch.uint8,
    "fp8_e5m2": torch.uint8,
    "int8": torch.int8,
}
CODES = {"fp8_e4m3": (1, 448.0), "fp8_e5m2": (2, 57344.0), "int8": (3, 127.0)}  # number in the kernels, largest code
NATIVE_FLOAT8 = 89  # compute capability from which 8-bit floats are converted by the processor
DEEPEST, WIDEST_GROUP = 256, 128
HEADS_AT_ONCE = 8  # of a token, in the kernel that stores

PROGRAMS = 396  # three for each of the 132 processors of an H200: with fewer, rows are cut along their keys
SHORTEST_PART = 256  # keys; below, starting a part costs more than it saves
MOST_PARTS = 64
SEGMENT = 512  # keys; where batches must not change bits, rows are cut at its multiples


@dataclass(frozen=True)
class Tiling:
    """How a kernel is launched.

    Attributes:
        rows, keys: of a tile; powers of two.
        warps, stages: threads, and depth of the pipeline of loads.
    """

    rows: int
    keys: int
    warps: int
    stages: int


@dataclass(frozen=True)
class TritonMetadata:
    """A step as the kernels read it.

    Attributes:
        single, longer: whether there are rows of one token, and of more.
        parts: into how many programs the keys of rows of one token are cut.
        segments: how many results a row has at most.
    """

    lens: DeviceLens
    tables_RB: torch.Tensor
    slots_T: torch.Tensor
    single: bool
    longer: bool
    parts: int
    segments: int


class TritonPagedAttention(AttentionBackend):
    """See `AttentionBackend`."""

    needs_lens = True
    pads = True

    def __init__(self, spec: AttentionSpec):
        super().__init__(spec)
        layout = spec.layout
        self._store_kernel = triton_ops.load("penstock.attention.triton_store:store_kernel")
        self._attend_kernel = triton_ops.load("penstock.attention.triton_attend:attend_kernel")
        self._join_kernel = triton_ops.load("penstock.attention.triton_attend:join_kernel")
        self._store_dtype = STORE_DTYPES[spec.kv_dtype]
        code, largest = CODES[spec.kv_dtype] if spec.kv_dtype in CODES else (0, torch.finfo(self._store_dtype).max)
        self._coded = code != 0
        self._depth = max(16, _power_of_two(layout.head_dim))
        group = layout.num_heads // layout.num_kv_heads
        compute = compute_dtype(spec.dtype, spec.kv_dtype)
        self._sizes = dict(
            HEADS=layout.num_heads, KV_HEADS=layout.num_kv_heads, DIM=layout.head_dim, DIM_P=self._depth
        )  # fmt: skip
        self._kind = dict(PAGE=spec.block_size, CODE=code, LARGEST=largest)
        self._tilings = {
            one: tiling(
                self._depth, group, compute, coded=self._coded, one_token=one, batch_invariant=spec.batch_invariant
            )
            for one in (True, False)
        }
        native = not triton_ops.interpreting and _architecture() >= NATIVE_FLOAT8
        self._attend = dict(
            **self._sizes,
            **self._kind,
            SEGMENT=SEGMENT if spec.batch_invariant else 0,
            CAUSAL=layout.causal,
            NATIVE=native,
            COMPUTE_BITS=0 if compute == spec.dtype else compute.itemsize * 8,
        )
        decoded = 256.0 if spec.kv_dtype == "fp8_e4m3" and not native else 1.0  # what a decoded code still lacks
        self._score_factor = layout.scale * math.log2(math.e) * decoded
        self._out_factor = decoded / largest if self._coded else 1.0
        # Products and sums are then rounded one by one, whatever surrounds them in a kernel.
        self._rounding = dict(enable_fp_fusion=False) if spec.batch_invariant else {}
        self._memory: list[torch.Tensor] = []
        self._scales: list[torch.Tensor] = []

    @classmethod
    def refusal(cls, spec: AttentionSpec) -> str | None:
        layout = spec.layout
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed"
        if not triton_ops.wanted_on(spec.device):
            return f"Triton has no kernels for the device {spec.device.type}"
        group = layout.num_heads // layout.num_kv_heads
        if layout.head_dim > DEEPEST or group > WIDEST_GROUP:
            return (
                f"head_dim {layout.head_dim} must be at most {DEEPEST}, and {group} query heads for a key/value head "
                f"at most {WIDEST_GROUP}"
            )
        return None

    def bytes_per_block(self) -> int:
        size = self.layout.head_dim * self._store_dtype.itemsize + (4 if self._coded else 0)
        return 2 * self.layout.num_kept_layers * self.layout.num_kv_heads * self.block_size * size

    def allocate(self, num_blocks: int) -> None:
        layout = self.layout
        size = (num_blocks, 2, layout.num_kv_heads, self.block_size)

        def kept(shape: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
            made = [torch.zeros(shape, dtype=dtype, device=self.device) for _ in range(layout.num_kept_layers)]
            return made * (layout.num_layers // len(made))

        self._memory = kept((*size, layout.head_dim), self._store_dtype)
        self._scales = kept(size, torch.float32) if self._coded else self._memory  # never read without codes

    def build(self, step: AttentionStep) -> TritonMetadata:
        lens = step.lens
        if lens is None:
            starts = torch.tensor([0, *step.query_lens], dtype=torch.int32).cumsum(0, dtype=torch.int32)
            contexts = torch.tensor(step.context_lens, dtype=torch.int32)
            lens = DeviceLens(starts.to(self.device), contexts.to(self.device))
        longest_context = max(step.context_lens)
        return self._metadata(step, lens, longest_context, 1 in step.query_lens, max(step.query_lens) > 1)

    def build_padded(self, step: AttentionStep, max_context: int) -> TritonMetadata:
        assert step.lens is not None, "a graph reads lengths from tensors that stay"
        return self._metadata(step, step.lens, max_context, single=True, longer=False)

    def _metadata(
        self, step: AttentionStep, lens: DeviceLens, longest_context: int, single: bool, longer: bool
    ) -> TritonMetadata:
        programs = len(step.query_lens) * self.layout.num_kv_heads
        # Powers of two, so that a part's bounds and a result's bits change seldom.
        keys = _power_of_two(longest_context)
        most = keys // SEGMENT if self.batch_invariant else min(MOST_PARTS, keys // SHORTEST_PART)
        parts = max(1, min(most, -(-PROGRAMS // programs)))
        segments = -(-keys // SEGMENT) if self.batch_invariant else parts
        tables_RB = step.block_tables_RB
        assert tables_RB.stride(1) == 1
        return TritonMetadata(lens, tables_RB, step.slots_T, single, longer, parts, segments)

    def attend(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None,
        meta: TritonMetadata,
    ) -> torch.Tensor:
        assert qkv_TN.is_contiguous()
        assert qkv_TN.dtype == self.dtype
        q_TN = qkv_TN.new_empty(qkv_TN.shape[0], self.layout.num_heads * self.layout.head_dim)
        self._store(layer, qkv_TN, q_TN, angles, norms, meta.slots_T)
        out_TN = torch.empty_like(q_TN)
        if meta.longer:
            self._attend_longer(layer, q_TN, out_TN, meta)
        if meta.single:
            self._attend_single(layer, q_TN, out_TN, meta)
        return out_TN

    def _store(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        q_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None,
        slots_T: torch.Tensor,
    ) -> None:
        cos_TF, sin_TF = angles
        heads = self.layout.num_heads + 2 * self.layout.num_kv_heads
        self._store_kernel[(qkv_TN.shape[0], -(-heads // HEADS_AT_ONCE))](
            qkv_TN,
            q_TN,
            self._memory[layer],
            self._scales[layer],
            norms.q_weight_D if norms else qkv_TN,
            norms.k_weight_D if norms else qkv_TN,
            cos_TF,
            sin_TF,
            slots_T,
            norms.eps if norms else 0.0,
            **self._sizes,
            **self._kind,
            HALF=cos_TF.shape[1],
            NORMS=norms is not None,
            BLOCK_H=HEADS_AT_ONCE,
            num_warps=4,
        )

    def _attend_longer(self, layer: int, q_TN: torch.Tensor, out_TN: torch.Tensor, meta: TritonMetadata) -> None:
        """Rows of more than one token. Called before `_attend_single`: what it writes for rows of one is lost."""
        layout, rows = self.layout, meta.tables_RB.shape[0]
        tiles = q_TN.shape[0] // (self._tilings[False].rows // (layout.num_heads // layout.num_kv_heads)) + rows
        self._launch((tiles, layout.num_kv_heads, 1), layer, q_TN, out_TN, None, meta, one_token=False)

    def _attend_single(self, layer: int, q_TN: torch.Tensor, out_TN: torch.Tensor, meta: TritonMetadata) -> None:
        layout, rows = self.layout, meta.tables_RB.shape[0]
        grid = (rows, layout.num_kv_heads, meta.parts)
        if meta.parts == 1:
            self._launch(grid, layer, q_TN, out_TN, None, meta, one_token=True)
            return
        results = (rows, layout.num_heads, meta.segments)
        sums = torch.empty((*results, self._depth), dtype=torch.float32, device=self.device)
        weights = torch.empty((*results, 2), dtype=torch.float32, device=self.device)
        self._launch(grid, layer, q_TN, out_TN, (sums, weights), meta, one_token=True)
        self._join_kernel[(rows, layout.num_heads)](
            out_TN,
            sums,
            weights,
            meta.lens.query_starts_N,
            meta.lens.context_lens_R,
            meta.parts,
            meta.segments,
            self._out_factor,
            SEGMENT=self._attend["SEGMENT"],
            HEADS=layout.num_heads,
            DIM=layout.head_dim,
            DIM_P=self._depth,
            WINDOW=layout.windows[layer] or 0,
            CAUSAL=layout.causal,
            BLOCK_N=self._tilings[True].keys,
            num_warps=max(1, self._depth // 64),
            **self._rounding,
        )

    def _launch(
        self,
        grid: tuple[int, int, int],
        layer: int,
        q_TN: torch.Tensor,
        out_TN: torch.Tensor,
        results: tuple[torch.Tensor, torch.Tensor] | None,
        meta: TritonMetadata,
        one_token: bool,
    ) -> None:
        shape = self._tilings[one_token]
        sums, weights = results or (out_TN, out_TN)
        self._attend_kernel[grid](
            q_TN,
            out_TN,
            sums,
            weights,
            self._memory[layer],
            self._scales[layer],
            meta.tables_RB,
            meta.lens.query_starts_N,
            meta.lens.context_lens_R,
            meta.tables_RB.stride(0),
            meta.tables_RB.shape[0],
            grid[2],
            meta.segments,
            self._score_factor,
            self._out_factor,
            ONE_TOKEN=one_token,
            SPLIT=results is not None,
            WINDOW=self.layout.windows[layer] or 0,
            BLOCK_M=shape.rows,
            BLOCK_N=shape.keys,
            num_warps=shape.warps,
            num_stages=shape.stages,
            **self._attend,
            **self._rounding,
        )


def compute_dtype(dtype: torch.dtype, kv_dtype: str) -> torch.dtype:
    """The type of both products: every 8-bit code is exact in float16, and mixed types meet in float32."""
    if dtype == torch.float32:
        return dtype
    if kv_dtype in CODES:
        return torch.float16
    return dtype if kv_dtype == str(dtype).removeprefix("torch.") else torch.float32


def tiling(
    depth: int, group: int, compute: torch.dtype, *, coded: bool, one_token: bool, batch_invariant: bool
) -> Tiling:
    """Sizes by the registers and the shared memory that the compiler reports for sm_90.

    Rows of one token are bound by memory: with 5 stages (the first loads the block table, and two hold a tile until it
    is used) one tile of 32 KiB is on its way while another is computed, and three programs fit on a processor. That
    leaves 96 KiB on their way, more than twice what 4.8 TB/s at a microsecond's latency need of each. Codes of 8 bits
    are half as long, so there are two tiles on their way.

    Where batches must not change bits, both kinds of rows have the same: a product's order of additions depends on it.
    """
    least, deep = _power_of_two(group), depth > 128
    if compute == torch.float32:
        return Tiling(max(16, least), 32, 8, 2)
    if batch_invariant:
        return Tiling(max(64, least), 32 if deep else 64, 8, 3)
    if one_token:
        return Tiling(max(16, least), 32 if deep else 64, 4, 7 if coded else 5)
    if deep:  # with 128 rows registers would spill, and GPUs with 99 KiB of shared memory could not launch it
        return Tiling(max(64, least), 32, 8, 3)
    return Tiling(128, 64, 8, 3)


def _architecture() -> int:
    driver = triton_ops.load("triton.runtime:driver")
    return int(driver.active.get_current_target().arch)


def _power_of_two(x: int) -> int:
    return 1 << max(0, x - 1).bit_length()
