"""Whether an answer has begun to repeat itself: a pattern of tokens, several times in a row, at its end."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.params import RepetitionDetectionParams


def repeats_itself(token_ids: Sequence[int], first: int, wanted: RepetitionDetectionParams) -> bool:
    """Whether the last tokens are `min_count` copies of a pattern of one of the sizes.

    Args:
        first: index of the first token that counts; those before are the prompt's.
    """
    end, count = len(token_ids), wanted.min_count
    longest = min(wanted.max_pattern_size, (end - first) // count)
    for size in range(max(wanted.min_pattern_size, 1), longest + 1):
        if token_ids[end - 1] != token_ids[end - 1 - size]:
            continue
        # Copies of a pattern are a text that equals itself moved by the pattern's size.
        start = end - size * count
        if all(token_ids[i] == token_ids[i + size] for i in range(start, end - size)):
            return True
    return False
