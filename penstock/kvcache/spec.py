"""KVSequence: a request as the KV manager sees it, tokens and the blocks that hold their keys and values.

    token_ids   [ block 0 | block 1 | block 2 | part ]        block_size tokens each
    block_ids   [   17    |    4    |    9    |  21  ]        where their KV lies in the pool
    published   [   yes   |   yes   ]         ^ publish_at    full blocks that others may share

One object serves the manager and the scheduler: `scheduler.request.Request` is one.
"""

from __future__ import annotations

import sys

NEVER = sys.maxsize  # a token count that no sequence reaches


class KVSequence:
    """Tokens with KV blocks. The owner appends to `token_ids`; all else is written by the KV manager.

    Attributes:
        token_ids: every token known, in order.
        cache_salt: only sequences with the same salt share blocks.
        reads_cache: False if every token must be computed here (prompt logprobs need all hidden states).
        block_ids: blocks held, in order of position; each is one reference.
        block_hashes: of the full blocks hashed so far; always those of a prefix of `token_ids`.
        publish_at: computed tokens at which one more full block can be shared.
    """

    __slots__ = ("block_hashes", "block_ids", "cache_salt", "publish_at", "reads_cache", "token_ids")

    def __init__(self, token_ids: list[int], cache_salt: str | None = None, reads_cache: bool = True):
        self.token_ids = token_ids
        self.cache_salt = cache_salt
        self.reads_cache = reads_cache
        self.block_ids: list[int] = []
        self.block_hashes: list[bytes] = []
        self.publish_at = NEVER
