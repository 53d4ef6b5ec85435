"""The pool of KV blocks: reference counts, the free list, and which block holds which content.

A free block keeps its content and its hash until it is handed out again, so the free list is also the cache: the block
at its front goes first. Block 0 is the null block, never handed out: padding may point at it. All operations are O(1)
per block. Knows no requests.
"""

from __future__ import annotations

from collections import OrderedDict


class BlockPool:
    """Blocks 1..num_blocks-1. A block is free (no references, in the free list) or in use (one or more references)."""

    def __init__(self, num_blocks: int):
        assert num_blocks >= 2, "the null block and one more"
        self.num_blocks = num_blocks
        self._refs = [0] * num_blocks
        self._hashes: list[bytes | None] = [None] * num_blocks
        self._by_hash: dict[bytes, int] = {}
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, num_blocks))

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_used(self) -> int:
        return self.num_blocks - 1 - len(self._free)

    def take(self, n: int) -> list[int]:
        """Hand out the `n` free blocks that were released longest ago; what they cached is forgotten."""
        assert n <= len(self._free)
        taken = []
        for _ in range(n):
            block_id = self._free.popitem(last=False)[0]
            self.forget(block_id)
            self._refs[block_id] = 1
            taken.append(block_id)
        return taken

    def share(self, block_id: int) -> None:
        """One more reference to a block that holds published content; it leaves the free list if it was there."""
        if self._refs[block_id] == 0:
            del self._free[block_id]
        self._refs[block_id] += 1

    def release(self, block_id: int) -> None:
        """Drop one reference. The last one frees the block: to the back of the list, to be evicted after all that was
        released before it, or to the front if its content is not published and so of no use to anyone."""
        refs = self._refs[block_id] - 1
        assert refs >= 0
        self._refs[block_id] = refs
        if refs == 0:
            self._free[block_id] = None
            if self._hashes[block_id] is None:
                self._free.move_to_end(block_id, last=False)

    def publish(self, block_id: int, block_hash: bytes) -> None:
        """Name a block's content. If a block in use already has that content, this one stays private; a free one loses
        its name to it: it would be evicted first, though its content has just been wanted."""
        assert self._refs[block_id] > 0
        assert self._hashes[block_id] is None
        other = self._by_hash.get(block_hash)
        if other is not None:
            if self._refs[other] > 0:
                return
            self._hashes[other] = None
            self._free.move_to_end(other, last=False)
        self._by_hash[block_hash] = block_id
        self._hashes[block_id] = block_hash

    def find(self, block_hash: bytes) -> int | None:
        """The block with this content, free or in use."""
        return self._by_hash.get(block_hash)

    def is_free(self, block_id: int) -> bool:
        return self._refs[block_id] == 0

    def forget(self, block_id: int) -> None:
        """What this block holds, if anything, can be found no more."""
        block_hash = self._hashes[block_id]
        if block_hash is not None:
            del self._by_hash[block_hash]
            self._hashes[block_id] = None

    def forget_contents(self) -> None:
        """Nothing that was published can be found any more."""
        self._by_hash.clear()
        self._hashes = [None] * self.num_blocks

    def check_integrity(self, expected_refs: dict[int, int]) -> None:
        """Assert that blocks are conserved and that the reference counts are exactly these (block id -> count)."""
        assert self._refs[0] == 0
        assert 0 not in self._free
        assert 0 not in expected_refs
        for block_id in range(1, self.num_blocks):
            refs = self._refs[block_id]
            assert refs == expected_refs.get(block_id, 0), f"block {block_id}: {refs} references"
            assert (refs == 0) == (block_id in self._free), f"block {block_id}: free and in use, or neither"
        hashed = {h: i for i, h in enumerate(self._hashes) if h is not None}
        assert hashed == self._by_hash
