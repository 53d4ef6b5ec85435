"""The manager in tokens: matching, room, publishing, eviction order, salts, reset."""

from __future__ import annotations

import pytest

from penstock.kvcache.manager import KVCacheManager
from penstock.kvcache.spec import KVSequence

BLOCK = 4


def make(num_blocks: int = 11, caching: bool = True) -> KVCacheManager:
    return KVCacheManager(num_blocks, BLOCK, caching, "blake2b", b"secret")


def start(kv: KVCacheManager, tokens: list[int], **options: object) -> tuple[KVSequence, int]:
    seq = KVSequence(list(tokens), **options)  # type: ignore[arg-type]
    num_cached = kv.match(seq)
    assert kv.allocate(seq, len(tokens))
    return seq, num_cached


def run(kv: KVCacheManager, tokens: list[int], **options: object) -> tuple[KVSequence, int]:
    seq, num_cached = start(kv, tokens, **options)
    kv.publish(seq, len(tokens))
    return seq, num_cached


def hits(kv: KVCacheManager, tokens: list[int], **options: object) -> int:
    seq = KVSequence(list(tokens), **options)  # type: ignore[arg-type]
    num_cached = kv.match(seq)
    kv.free(seq)
    return num_cached


def test_full_blocks_are_found_and_the_last_token_is_always_left() -> None:
    kv = make()
    seq, _ = run(kv, list(range(10)))
    kv.free(seq)
    assert [hits(kv, list(range(n))) for n in (1, 4, 5, 8, 9, 10, 12)] == [0, 0, 4, 4, 8, 8, 8]
    assert hits(kv, [0, 1, 2, 9, 4, 5, 6, 7, 8]) == 0
    assert kv.idle


def test_blocks_are_shared_while_in_use_and_only_once_published() -> None:
    kv = make()
    first, _ = start(kv, list(range(9)))
    assert hits(kv, list(range(9))) == 0
    kv.publish(first, 7)  # one full block is computed
    assert hits(kv, list(range(9))) == 4
    kv.publish(first, 9)
    second, num_cached = run(kv, list(range(9)))
    assert num_cached == 8
    assert second.block_ids[:2] == first.block_ids[:2]
    assert second.block_ids[2] != first.block_ids[2]
    kv.check_integrity([first, second])
    kv.free(first)
    kv.check_integrity([second])
    kv.free(second)
    assert kv.idle


def test_two_that_compute_the_same_at_once_share_afterwards() -> None:
    kv = make()
    one, _ = start(kv, list(range(9)))
    two, _ = start(kv, list(range(9)))
    kv.publish(one, 9)
    kv.publish(two, 9)
    kv.free(one)
    kv.free(two)
    assert hits(kv, list(range(9))) == 8
    kv.check_integrity([])


def test_a_sequence_loses_its_tail_first() -> None:
    kv = make(num_blocks=5)
    seq, _ = run(kv, list(range(16)))
    kv.free(seq)
    for taken, left in ((1, 12), (2, 8), (3, 4), (4, 0)):
        other = KVSequence([99] * (taken * BLOCK))
        assert kv.allocate(other, len(other.token_ids))
        assert hits(kv, list(range(17))) == left
        kv.free(other)


def test_an_older_sequence_is_evicted_before_a_newer_one() -> None:
    kv = make(num_blocks=5)
    old, _ = run(kv, list(range(8)))
    new, _ = run(kv, list(range(50, 58)))
    kv.free(old)
    kv.free(new)
    other, _ = start(kv, [99] * 8)
    assert hits(kv, list(range(9))) == 0
    assert hits(kv, list(range(50, 59))) == 8
    kv.free(other)


def test_what_is_computed_once_more_is_the_newest_in_the_cache() -> None:
    kv = make(num_blocks=5)
    again, other = [0, 1, 2, 3], [50, 51, 52, 53]
    for tokens in (again, other, again):
        seq, num_cached = run(kv, tokens)
        assert num_cached == 0  # the last token runs, and so the block
        kv.free(seq)
        kv.check_integrity([])
    third, _ = start(kv, [99] * 12)
    assert hits(kv, [*again, 9]) == 4
    assert hits(kv, [*other, 9]) == 0
    kv.free(third)


def test_salts_do_not_meet() -> None:
    kv = make(num_blocks=30)
    tokens = list(range(9))
    for salt in (None, "a", "b", ""):
        seq, num_cached = run(kv, tokens, cache_salt=salt)
        assert num_cached == 0
        kv.free(seq)
        assert hits(kv, tokens, cache_salt=salt) == 8


def test_a_sequence_that_must_not_read_the_cache_still_fills_it() -> None:
    kv = make()
    tokens = list(range(9))
    seq, num_cached = run(kv, tokens, reads_cache=False)
    kv.free(seq)
    assert num_cached == 0
    assert hits(kv, tokens, reads_cache=False) == 0
    assert hits(kv, tokens) == 8


def test_without_caching_nothing_is_found() -> None:
    kv = make(caching=False)
    seq, _ = run(kv, list(range(9)))
    kv.free(seq)
    assert hits(kv, list(range(9))) == 0


def test_too_little_room_changes_nothing() -> None:
    kv = make(num_blocks=4)
    seq, _ = start(kv, list(range(8)))
    before = list(seq.block_ids)
    assert not kv.allocate(seq, 13)
    assert seq.block_ids == before
    assert kv.usage == pytest.approx(2 / 3)
    assert kv.allocate(seq, 12)
    assert kv.usage == 1.0


def test_shortage_counts_what_sharing_saves() -> None:
    kv = make(num_blocks=6)  # 5 usable
    running, _ = run(kv, list(range(12)))  # 3 blocks
    assert kv.shortage(KVSequence([99] * 8)) <= 0
    assert kv.shortage(KVSequence([99] * 12)) == 1
    assert kv.shortage(KVSequence([*range(12), 7])) <= 0  # three shared, one new
    kv.free(running)
    assert kv.shortage(KVSequence(list(range(12)) + [7] * 9)) == 1  # cached but free blocks save nothing
    assert kv.shortage(KVSequence([99] * 20), spare=1) == 1


def test_reset_waits_until_no_block_is_in_use() -> None:
    kv = make()
    seq, _ = run(kv, list(range(9)))
    assert not kv.reset()
    assert hits(kv, list(range(9))) == 8
    kv.free(seq)
    assert kv.reset()
    assert hits(kv, list(range(9))) == 0
    kv.check_integrity([])


def test_the_integrity_check_sees_a_leak() -> None:
    kv = make()
    seq, _ = run(kv, list(range(9)))
    with pytest.raises(AssertionError):
        kv.check_integrity([])
    kv.check_integrity([seq])
