"""Answers that repeat themselves are found by their tokens, and only they."""

from __future__ import annotations

import random

import pytest

from penstock.errors import ClientError
from penstock.params import RepetitionDetectionParams, SamplingParams
from penstock.scheduler.plan import FinishReason
from penstock.scheduler.repetition import repeats_itself
from penstock.scheduler.request import Request

WANTED = RepetitionDetectionParams(max_pattern_size=3, min_pattern_size=2, min_count=3)


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([1, 2, 1, 2, 1, 2], True),
        ([9, 1, 2, 3, 1, 2, 3, 1, 2, 3], True),
        ([1, 2, 1, 2, 1], False),
        ([1, 2, 1, 2, 1, 3], False),
        ([5, 5, 5, 5, 5, 5], True),  # also a pattern of two
        ([5, 5, 5, 5, 5], False),
        ([1, 2, 3, 4] * 3, False),
        ([], False),
    ],
)
def test_patterns(tokens: list[int], found: bool) -> None:
    assert repeats_itself(tokens, 0, WANTED) is found
    assert repeats_itself([1, 2, *tokens], 2, WANTED) is found  # a prompt does not count


def test_against_the_definition() -> None:
    chance = random.Random(3)
    for _ in range(3000):
        tokens = [chance.randrange(2) for _ in range(chance.randrange(20))]
        low = chance.randrange(1, 4)
        wanted = RepetitionDetectionParams(
            min_pattern_size=low, max_pattern_size=low + chance.randrange(3), min_count=chance.randrange(2, 5)
        )
        sizes = range(wanted.min_pattern_size, wanted.max_pattern_size + 1)
        expected = any(
            len(tokens) >= s * wanted.min_count
            and tokens[-s * wanted.min_count :] == tokens[len(tokens) - s :] * wanted.min_count
            for s in sizes
        )
        assert repeats_itself(tokens, 0, wanted) is expected


def test_a_request_ends_but_not_before_its_time() -> None:
    for min_tokens, expected in ((0, 6), (9, 9)):
        params = SamplingParams(repetition_detection=WANTED, min_tokens=min_tokens, max_tokens=50)
        request = Request("r", [1, 2, 1, 2], params, 0.0)
        request.max_total = 100
        count, reason, _ = request.append([4] * 20)
        assert (count, reason) == (expected, FinishReason.REPETITION)


def test_bounds() -> None:
    for wrong in ({"max_pattern_size": 2, "min_count": 1}, {"min_pattern_size": 3}, {"max_pattern_size": 10**9}):
        with pytest.raises(ClientError) as e:
            RepetitionDetectionParams(**wrong)
        assert e.value.param == "repetition_detection"
