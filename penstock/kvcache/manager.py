"""KVCacheManager: who holds which KV blocks, and which prefixes are already computed.

Hides blocks, hashes and eviction from the scheduler, which asks in tokens. Knows no requests' lives, no policy and no
tensors. A block is shared only when it is full and published, and never written again after that.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.kvcache.block_hash import BlockHasher
from penstock.kvcache.block_pool import BlockPool
from penstock.kvcache.spec import NEVER, KVSequence


class KVCacheManager:
    """The KV blocks of one pool.

    Args:
        num_blocks: including block 0, which is never used.
        block_size: tokens per block.
        enable_caching: whether full blocks are shared between sequences with the same beginning.
        hash_name: see `BlockHasher`.
        secret: random bytes of this server, at most 64.
    """

    def __init__(self, num_blocks: int, block_size: int, enable_caching: bool, hash_name: str, secret: bytes):
        self.block_size = block_size
        self.enable_caching = enable_caching
        self._pool = BlockPool(num_blocks)
        self._hasher = BlockHasher(hash_name, secret)

    @property
    def num_blocks(self) -> int:
        return self._pool.num_blocks

    @property
    def max_tokens(self) -> int:
        """Tokens that fit if one sequence has the pool to itself."""
        return (self._pool.num_blocks - 1) * self.block_size

    @property
    def usage(self) -> float:
        """Share of the blocks that sequences hold, 0..1."""
        return self._pool.num_used / (self._pool.num_blocks - 1)

    @property
    def idle(self) -> bool:
        """Nobody holds a block."""
        return self._pool.num_used == 0

    def shortage(self, seq: KVSequence, spare: int = 0) -> int:
        """Free blocks that are missing so that `seq`, which holds none, gets room for all its tokens and `spare` free
        blocks are left; zero or less if there are enough. Changes nothing."""
        pool = self._pool
        wanted = self._blocks_for(len(seq.token_ids)) + spare
        if wanted <= pool.num_free:
            return wanted - pool.num_free  # whatever is cached
        in_use = sum(not pool.is_free(block_id) for block_id in self._cached_prefix(seq))
        return wanted - in_use - pool.num_free

    def match(self, seq: KVSequence) -> int:
        """Give `seq`, which holds no blocks, the blocks of its longest computed prefix.

        At least one token is always left to run, or there would be nothing to sample from.

        Returns:
            how many tokens need not be computed, a multiple of the block size.
        """
        assert not seq.block_ids
        for block_id in self._cached_prefix(seq):
            self._pool.share(block_id)
            seq.block_ids.append(block_id)
        num_cached = len(seq.block_ids) * self.block_size
        seq.publish_at = num_cached + self.block_size if self.enable_caching else NEVER
        return num_cached

    def allocate(self, seq: KVSequence, num_tokens: int) -> bool:
        """Make room for the first `num_tokens` tokens of `seq`, those it has room for included.

        Returns:
            False, and nothing has changed, if there are too few free blocks.
        """
        missing = self._blocks_for(num_tokens) - len(seq.block_ids)
        if missing <= 0:
            return True
        if missing > self._pool.num_free:
            return False
        seq.block_ids += self._pool.take(missing)
        return True

    def publish(self, seq: KVSequence, num_computed: int) -> None:
        """The first `num_computed` tokens are computed, or will be before anyone who asks later: let others share the
        full blocks, as far as their tokens are known."""
        num_computed = min(num_computed, len(seq.token_ids))
        if num_computed < seq.publish_at:
            return
        self._extend_hashes(seq)
        first, end = seq.publish_at // self.block_size - 1, num_computed // self.block_size
        for i in range(first, end):
            self._pool.publish(seq.block_ids[i], seq.block_hashes[i])
        seq.publish_at = (end + 1) * self.block_size

    def retract(self, seq: KVSequence, num_computed: int) -> None:
        """Only the first `num_computed` tokens have been computed after all: no more of them is shared, ever."""
        for block_id in seq.block_ids[num_computed // self.block_size :]:
            self._pool.forget(block_id)
        seq.publish_at = NEVER

    def free(self, seq: KVSequence) -> None:
        """Take all blocks from `seq`. Its last block is evicted first: a prefix is useful without its end."""
        for block_id in reversed(seq.block_ids):
            self._pool.release(block_id)
        seq.block_ids.clear()
        seq.publish_at = NEVER

    def reset(self) -> bool:
        """Forget all cached prefixes, if no block is in use; else do nothing and return False."""
        if not self.idle:
            return False
        self._pool.forget_contents()
        return True

    def check_integrity(self, sequences: Iterable[KVSequence]) -> None:
        """Assert that each block is either free or held by exactly those of `sequences` (all there are) that say so."""
        refs: dict[int, int] = {}
        for seq in sequences:
            assert len(set(seq.block_ids)) == len(seq.block_ids)
            for block_id in seq.block_ids:
                refs[block_id] = refs.get(block_id, 0) + 1
        self._pool.check_integrity(refs)

    def _blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def _extend_hashes(self, seq: KVSequence) -> None:
        self._hasher.extend(seq.block_hashes, seq.token_ids, self.block_size, seq.cache_salt)

    def _cached_prefix(self, seq: KVSequence) -> list[int]:
        found: list[int] = []
        if not (self.enable_caching and seq.reads_cache):
            return found
        self._extend_hashes(seq)
        for block_hash in seq.block_hashes[: (len(seq.token_ids) - 1) // self.block_size]:
            block_id = self._pool.find(block_hash)
            if block_id is None:
                break
            found.append(block_id)
        return found
