"""A block's hash names everything before and in it, under one server's secret."""

from __future__ import annotations

import hashlib
import itertools
import random

import pytest

from penstock.errors import StartError
from penstock.kvcache.block_hash import HASH_NAMES, BlockHasher

SECRET = bytes(range(32))


def chain(hasher: BlockHasher, tokens: list[int], salt: str | None = None, block_size: int = 4) -> list[bytes]:
    hashes: list[bytes] = []
    hasher.extend(hashes, tokens, block_size, salt)
    return hashes


@pytest.mark.parametrize("name", HASH_NAMES)
def test_equal_prefixes_and_only_those_have_equal_hashes(name: str) -> None:
    hasher = BlockHasher(name, SECRET)
    rng = random.Random(0)
    seen: dict[bytes, tuple[int, ...]] = {}
    for _ in range(300):
        tokens = [rng.randrange(3) + rng.choice((0, 250, 65534, 2**31)) for _ in range(rng.randint(0, 14))]
        hashes = chain(hasher, tokens)
        assert len(hashes) == len(tokens) // 4
        for i, block_hash in enumerate(hashes):
            prefix = tuple(tokens[: 4 * (i + 1)])
            assert seen.setdefault(block_hash, prefix) == prefix
            assert len(block_hash) >= 16
    assert len(seen) == len(set(seen.values()))


@pytest.mark.parametrize("name", HASH_NAMES)
def test_the_second_block_depends_on_the_first(name: str) -> None:
    hasher = BlockHasher(name, SECRET)
    one, other = chain(hasher, [1, 2, 3, 4, 5, 6, 7, 8]), chain(hasher, [1, 2, 3, 0, 5, 6, 7, 8])
    assert one[1] != other[1]


@pytest.mark.parametrize("name", HASH_NAMES)
def test_extending_step_by_step_gives_the_same_chain(name: str) -> None:
    hasher = BlockHasher(name, SECRET)
    tokens = list(range(23))
    hashes: list[bytes] = []
    for n in range(len(tokens) + 1):
        hasher.extend(hashes, tokens[:n], 4, "salt")
    assert hashes == chain(hasher, tokens, "salt")


@pytest.mark.parametrize("name", HASH_NAMES)
def test_salts_and_secrets_separate(name: str) -> None:
    tokens = [1, 2, 3, 4]
    salts = (None, "", "a", "b", "-", "\ud800")
    hashers = [BlockHasher(name, SECRET), BlockHasher(name, b"another")]
    hashes = [chain(h, tokens, salt)[0] for h, salt in itertools.product(hashers, salts)]
    assert len(set(hashes)) == len(hashes)


def test_the_names_mean_what_they_say() -> None:
    tokens = [1, 2, 500, 70_000]
    packed = b"".join(t.to_bytes(8, "little") for t in tokens)
    root = BlockHasher("blake2b", SECRET).root(None)
    assert chain(BlockHasher("blake2b", SECRET), tokens) == chain(BlockHasher("builtin", SECRET), tokens)
    assert chain(BlockHasher("blake2b", SECRET), tokens) == [
        hashlib.blake2b(root + packed, key=SECRET, digest_size=32).digest()
    ]
    root = BlockHasher("sha256", SECRET).root(None)
    assert chain(BlockHasher("sha256", SECRET), tokens) == [hashlib.sha256(root + packed).digest()]
    # RFC 8949: array of 2, 32 bytes, array of 4: 1, 2, 500 in two bytes, 70000 in four
    cbor = bytes.fromhex("825820") + root + bytes.fromhex("8401021901f41a00011170")
    assert chain(BlockHasher("sha256_cbor", SECRET), tokens) == [hashlib.sha256(cbor).digest()]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(StartError, match=r"md5.*known: blake2b"):
        BlockHasher("md5", SECRET)
