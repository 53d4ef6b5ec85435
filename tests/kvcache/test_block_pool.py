"""The free list is an LRU cache, and references are counted."""

from __future__ import annotations

import pytest

from penstock.kvcache.block_pool import BlockPool


def test_block_zero_is_never_handed_out() -> None:
    pool = BlockPool(4)
    assert sorted(pool.take(3)) == [1, 2, 3]
    assert pool.num_free == 0
    assert pool.num_used == 3


def test_the_block_released_longest_ago_is_evicted_first() -> None:
    pool = BlockPool(5)
    a, b, c, d = pool.take(4)
    for block_id in (a, b, c, d):
        pool.publish(block_id, b"%d" % block_id)
    for block_id in (c, a, d, b):
        pool.release(block_id)
    assert pool.take(2) == [c, a]
    assert pool.find(b"%d" % c) is None
    assert pool.find(b"%d" % d) == d
    pool.check_integrity({c: 1, a: 1})


def test_sharing_a_free_block_saves_it_from_eviction() -> None:
    pool = BlockPool(4)
    a, b, c = pool.take(3)
    for block_id in (a, b, c):
        pool.publish(block_id, b"%d" % block_id)
        pool.release(block_id)
    pool.share(a)
    assert pool.take(2) == [b, c]
    assert pool.find(b"%d" % a) == a


def test_an_unpublished_block_is_evicted_before_any_cached_one() -> None:
    pool = BlockPool(4)
    a, b, c = pool.take(3)
    pool.publish(a, b"a")
    pool.publish(c, b"c")
    for block_id in (a, b, c):
        pool.release(block_id)
    assert pool.take(3) == [b, a, c]


def test_a_block_is_free_when_its_last_reference_goes() -> None:
    pool = BlockPool(2)
    (a,) = pool.take(1)
    pool.publish(a, b"a")
    pool.share(a)
    pool.release(a)
    assert not pool.is_free(a)
    pool.release(a)
    assert pool.is_free(a)
    with pytest.raises(AssertionError):
        pool.release(a)


def test_the_first_block_with_a_content_keeps_the_name() -> None:
    pool = BlockPool(3)
    a, b = pool.take(2)
    pool.publish(a, b"same")
    pool.publish(b, b"same")
    assert pool.find(b"same") == a
    pool.release(b)
    assert pool.find(b"same") == a
    pool.check_integrity({a: 1})


@pytest.mark.parametrize("expected", [{}, {1: 2}, {1: 1, 2: 1}, {0: 1, 1: 1}])
def test_the_integrity_check_sees_wrong_counts(expected: dict[int, int]) -> None:
    pool = BlockPool(3)
    assert pool.take(1) == [1]
    pool.check_integrity({1: 1})
    with pytest.raises(AssertionError):
        pool.check_integrity(expected)
