"""The hash chain that names a full block by everything before and in it: H(parent, tokens of the block).

The first block's parent is the root: H(secret, cache salt), with a secret drawn when the server starts. So nobody
outside can compute which prompts collide, and sequences with different salts never meet. Hashes stay in the process.
"""

from __future__ import annotations

import hashlib
import importlib
from array import array
from collections.abc import Callable

from penstock.errors import StartError

Digest = Callable[[bytes], bytes]
Pack = Callable[[bytes, list[int]], bytes]

HASH_NAMES = ("blake2b", "builtin", "sha256", "sha256_cbor", "xxhash")
_DIGEST_BYTES = 32
_MAX_KEY_BYTES = 64  # of blake2b


class BlockHasher:
    """Hashes of one server.

    Args:
        name: blake2b (keyed, 256 bits; `builtin` is another name for it), sha256, sha256_cbor (SHA-256 over canonical
            CBOR), or xxhash (128 bits and faster on long blocks, but not made to withstand an attacker).
        secret: random bytes, at most 64, drawn per server.

    Raises:
        StartError: the name is unknown, or its optional package is not installed.
    """

    def __init__(self, name: str, secret: bytes):
        assert 0 < len(secret) <= _MAX_KEY_BYTES
        if name not in HASH_NAMES:
            raise StartError(f"unknown prefix hash {name!r}; known: {', '.join(HASH_NAMES)}")
        self._secret = secret
        self._digest: Digest = _sha256
        if name in ("blake2b", "builtin"):
            self._digest = _keyed_blake2b(secret)
        elif name == "xxhash":
            self._digest = _seeded_xxh3(secret)
        self._pack: Pack = _pack_cbor if name == "sha256_cbor" else _pack_words

    def root(self, salt: str | None) -> bytes:
        """The parent of a first block. No salt and an empty salt differ."""
        tagged = b"-" if salt is None else b"+" + salt.encode("utf-8", "surrogatepass")  # clients choose salts
        return self._digest(self._secret + tagged)

    def extend(self, hashes: list[bytes], token_ids: list[int], block_size: int, salt: str | None) -> None:
        """Append the hashes of those full blocks of `token_ids` that `hashes` does not cover yet."""
        digest, pack = self._digest, self._pack
        start, end = len(hashes) * block_size, len(token_ids) - block_size
        if start > end:
            return
        parent = hashes[-1] if hashes else self.root(salt)
        while start <= end:
            parent = digest(pack(parent, token_ids[start : start + block_size]))
            hashes.append(parent)
            start += block_size


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _keyed_blake2b(secret: bytes) -> Digest:
    keyed = hashlib.blake2b(key=secret, digest_size=_DIGEST_BYTES)

    def digest(data: bytes) -> bytes:
        h = keyed.copy()  # the key block is absorbed once, not per hash
        h.update(data)
        return h.digest()

    return digest


def _seeded_xxh3(secret: bytes) -> Digest:
    try:
        xxh3_128_digest = importlib.import_module("xxhash").xxh3_128_digest
    except ImportError as e:
        raise StartError("prefix hash 'xxhash' needs the package xxhash: pip install 'penstock[xxhash]'") from e
    seed = int.from_bytes(secret[:8], "little")
    return lambda data: xxh3_128_digest(data, seed)


def _pack_words(parent: bytes, token_ids: list[int]) -> bytes:
    """Parent, then 64 bits per token. Both lengths are fixed within a server, so this is injective."""
    return parent + array("q", token_ids).tobytes()


def _pack_cbor(parent: bytes, token_ids: list[int]) -> bytes:
    """The array [parent, [token, ...]] in canonical CBOR (RFC 8949, section 4.2: shortest heads, definite lengths)."""
    head = _cbor_head
    items = [head(0, t) for t in token_ids]
    return head(4, 2) + head(2, len(parent)) + parent + head(4, len(items)) + b"".join(items)


def _cbor_head(major: int, n: int) -> bytes:
    """Initial byte and argument of a data item: major type 0 unsigned, 2 bytes, 4 array."""
    if n < 24:
        return bytes(((major << 5) | n,))
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if n < 1 << 8 * size:
            return bytes(((major << 5) | code,)) + n.to_bytes(size, "big")
    raise OverflowError(f"{n} does not fit 64 bits")
