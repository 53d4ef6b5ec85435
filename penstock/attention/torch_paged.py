"""Paged attention in plain torch: the twin that kernels are compared with, and what runs where there is none.

Online softmax (https://arxiv.org/abs/1805.02867) in float32 over key tiles at absolute positions. A token's bits depend
on its row's tokens up to it and on nothing else: not on the batch, the chunk, or who computed the cached blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from penstock.attention.base import AttentionBackend, AttentionSpec, HeadNorms
from penstock.attention.context import AttentionStep
from penstock.attention.query_blocks import QueryBlocks, Tile, cut
from penstock.ops.lazy_zeros import lazy_zeros
from penstock.ops.linear import RowPlan
from penstock.ops.rms_norm import rms_norm
from penstock.ops.rotary import rotate

# Dimensions in tensor names: as in base.py and query_blocks.py.

TILE = 64  # keys: few are wasted on short contexts, and long ones do not drown in calls
REFERENCE_HEIGHT = 8  # query rows of a block
HEIGHTS = (4, 8, 16, 32, 64, 128, 256)  # those whose bits agree with it are used
WORKING_SET = 4 << 20  # bytes of temporaries that should stay in the processor's cache
STORE_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
NEVER = -1.0e30  # running maximum before any key was seen; finite, so that a fully masked tile changes nothing


@dataclass(frozen=True)
class TorchPagedMetadata:
    """Slots of the running tokens, and for each window of the model its query blocks."""

    slots_T: torch.Tensor
    blocks: dict[int | None, list[QueryBlocks]]


class TorchPagedAttention(AttentionBackend):
    """Keys and values lie as [block, offset, kv head, dim] per layer."""

    def __init__(self, spec: AttentionSpec):
        super().__init__(spec)
        layout = spec.layout
        self.store_dtype = STORE_DTYPES[spec.kv_dtype]
        assert layout.num_heads % layout.num_kv_heads == 0
        self.group = layout.num_heads // layout.num_kv_heads
        # A tile is whole blocks, or a block is whole tiles; `unit` is the smaller of the two.
        self.unit = TILE if spec.block_size % TILE == 0 else spec.block_size
        self.tile = self.unit * max(1, TILE // self.unit)
        self.plan = plan_heights(layout.head_dim, self.tile, spec.device)
        self.at_once = {height: self._blocks_at_once(height) for height in self.plan.sizes}
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    @classmethod
    def refusal(cls, spec: AttentionSpec) -> str | None:
        if spec.kv_dtype in STORE_DTYPES:
            return None
        return (
            f"--kv-cache-dtype {spec.kv_dtype}: 8-bit keys and values need the C++ kernels, which are not in use here."
        )

    def bytes_per_block(self) -> int:
        heads = self.layout.num_kv_heads * self.layout.head_dim
        return 2 * self.layout.num_kept_layers * self.block_size * heads * self.store_dtype.itemsize

    def allocate(self, num_blocks: int) -> None:
        size = (num_blocks, self.block_size, self.layout.num_kv_heads, self.layout.head_dim)
        for store in (self.keys, self.values):
            kept = [lazy_zeros(size, self.store_dtype, self.device) for _ in range(self.layout.num_kept_layers)]
            store[:] = kept * (self.layout.num_layers // len(kept))

    def build(self, step: AttentionStep) -> TorchPagedMetadata:
        blocks = {
            window: cut(
                step,
                self.group,
                self.plan,
                tile=self.tile,
                unit=self.unit,
                block_size=self.block_size,
                window=window,
                at_once=self.at_once,
                causal=self.layout.causal,
            )
            for window in set(self.layout.windows)
        }
        return TorchPagedMetadata(step.slots_T, blocks)

    def attend(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None,
        meta: TorchPagedMetadata,
    ) -> torch.Tensor:
        heads, kv_heads = self.layout.num_heads, self.layout.num_kv_heads
        q, k, v = qkv_TN.unflatten(1, (-1, self.layout.head_dim)).split([heads, kv_heads, kv_heads], dim=1)
        if norms is not None:
            q, k = rms_norm(q, norms.q_weight_D, norms.eps), rms_norm(k, norms.k_weight_D, norms.eps)
        self._store(layer, rotate(k, *angles), v, meta)
        return self._forward(layer, rotate(q, *angles), meta).flatten(1)

    def _store(self, layer: int, k_TGD: torch.Tensor, v_TGD: torch.Tensor, meta: TorchPagedMetadata) -> None:
        # What is not finite becomes 0: a block's unused places are multiplied by weights of 0, and one request's
        # overflow must not reach the next owner of its blocks as 0 * inf.
        largest = torch.finfo(self.store_dtype).max
        for store, x in ((self.keys, k_TGD), (self.values, v_TGD)):
            finite = x.nan_to_num(0.0, 0.0, 0.0).clamp(-largest, largest).to(self.store_dtype)
            store[layer].flatten(0, 1).index_copy_(0, meta.slots_T, finite)

    def _forward(self, layer: int, q_THD: torch.Tensor, meta: TorchPagedMetadata) -> torch.Tensor:
        tokens, heads, dim = q_THD.shape
        q_RGD = (q_THD.float() * self.layout.scale).unflatten(1, (-1, self.group)).transpose(1, 2).flatten(0, 1)
        out_RGD = torch.empty_like(q_RGD, dtype=self.dtype)
        for blocks in meta.blocks[self.layout.windows[layer]]:
            out_IGMD = self._attend(layer, q_RGD, blocks)
            filled = out_IGMD.transpose(1, 2).flatten(0, 1).index_select(0, blocks.filled)
            out_RGD.index_copy_(0, blocks.targets, filled.to(self.dtype))
        return out_RGD.unflatten(0, (tokens, self.group)).transpose(1, 2).reshape(tokens, heads, dim)

    def _attend(self, layer: int, q_RGD: torch.Tensor, blocks: QueryBlocks) -> torch.Tensor:
        count, height = blocks.rows_IM.shape
        q_IMGD = q_RGD.index_select(0, blocks.rows_IM.flatten()).unflatten(0, (count, height))
        q_IGMD = q_IMGD.transpose(1, 2).contiguous()
        total_IGMD = torch.zeros_like(q_IGMD)
        norm_IGM1 = torch.zeros_like(q_IGMD[..., :1])
        highest_IGM1 = torch.full_like(norm_IGM1, NEVER)
        for tile in blocks.tiles:
            c = tile.count
            score = _product(q_IGMD[:c], self._read(self.keys[layer], tile).transpose(2, 3))
            if tile.mask_C1MK is not None:
                score.add_(tile.mask_C1MK)
            highest = torch.maximum(highest_IGM1[:c], score.amax(-1, keepdim=True))
            weight = score.sub_(highest).exp_()
            fade = (highest_IGM1[:c] - highest).exp_()
            norm_IGM1[:c].mul_(fade).add_(weight.sum(-1, keepdim=True))
            total_IGMD[:c].mul_(fade).add_(_product(weight, self._read(self.values[layer], tile)))
            highest_IGM1[:c] = highest
        return total_IGMD.div_(norm_IGM1)

    def _read(self, store: torch.Tensor, tile: Tile) -> torch.Tensor:
        """float32 [C, G, K, D]."""
        found = store.view(-1, self.unit, *store.shape[2:]).index_select(0, tile.unit_ids)
        out = torch.empty(
            (tile.count, self.layout.num_kv_heads, self.tile, self.layout.head_dim),
            dtype=torch.float32,
            device=self.device,
        )
        return out.copy_(found.view(tile.count, self.tile, *store.shape[2:]).transpose(1, 2))

    def _blocks_at_once(self, height: int) -> int:
        dim, tile = self.layout.head_dim, self.tile
        elements = self.layout.num_kv_heads * (2 * tile * dim + height * (3 * dim + tile))
        return max(1, WORKING_SET // (4 * elements))


def _product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a @ b over the last two dimensions; a matrix's bits do not depend on how many there are."""
    return torch.bmm(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2])


def plan_heights(head_dim: int, tile: int, device: torch.device) -> RowPlan:
    """Heights whose two products give, on this machine, the bits that blocks of REFERENCE_HEIGHT rows give."""
    generator = torch.Generator(device=device).manual_seed(1)
    k, v = torch.randn((2, 1, 3, tile, head_dim), generator=generator, device=device)
    q = torch.randn((1, 1, REFERENCE_HEIGHT, head_dim), generator=generator, device=device)
    w = torch.rand((1, 1, REFERENCE_HEIGHT, tile), generator=generator, device=device)

    def products(order: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        size = (1, heads, len(order), -1)
        score = _product(q[:, :, order].expand(size), k[:, :heads].transpose(2, 3))
        return score, _product(w[:, :, order].expand(size), v[:, :heads])

    def agrees(height: int) -> bool:
        order = (torch.arange(height, device=device) * 5 + 3) % REFERENCE_HEIGHT
        return all(
            torch.equal(got, right[:, :heads, order])
            for heads in (1, 3)
            for got, right in zip(products(order, heads), want, strict=True)
        )

    want = products(torch.arange(REFERENCE_HEIGHT, device=device), 3)
    return RowPlan(tuple(h for h in HEIGHTS if h == REFERENCE_HEIGHT or agrees(h)))
