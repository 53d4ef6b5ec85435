"""Random batches over all sampling features: every request gives the bits it gives alone, in each format of weights.

`scripts/determinism` runs the full thousand of each format; these are the first of them.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from determinism_batches import (
    BUNDLED,
    FORMATS,
    POOL,
    Asked,
    Batch,
    bits,
    check_batches,
    difference,
    draw_requests,
    run_alone,
    run_batch,
)
from penstock.tokenizers.tokenizer import Tokenizer

BATCHES, PARTS = 100, 2
GREEDY = {"temperature": 0.0, "max_tokens": 6, "ignore_eos": True, "logprobs": 2}


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", FORMATS)
def test_random_batches(name: str, part: int, tmp_path: Path) -> None:
    size = BATCHES // PARTS
    seen, failures = check_batches(name, range(part * 1000, part * 1000 + size), tmp_path)
    assert not failures, failures[0]
    missed = [what for what in ("preemptions", "prefix_hits", "chunks", "mixed_steps", "aborts") if not seen[what]]
    assert missed == [], f"these batches do not try all that they are meant to: {seen}"


def test_all_features_are_drawn() -> None:
    drawn = draw_requests(random.Random("group 0"))
    features = Counter(name for asked in drawn for name in asked.sampling)
    wanted = {
        *("temperature", "seed", "top_k", "top_p", "min_p", "n", "repetition_penalty", "presence_penalty"),
        *("frequency_penalty", "logit_bias", "allowed_token_ids", "bad_words", "stop_token_ids", "stop", "min_tokens"),
        *("logprobs", "prompt_logprobs", "ignore_eos", "max_tokens"),
    }
    assert len(drawn) == POOL
    assert wanted == set(features)


def test_a_difference_is_found_and_told() -> None:
    """What the comparison is worth: one wrong bit of one logprob, one wrong token, one wrong letter."""
    tokenizer = Tokenizer.from_folder(str(BUNDLED))
    asked = Asked([300, 301, 302], GREEDY)
    (want,) = run_alone(BUNDLED, tokenizer, {"dtype": "float32"}, asked)
    tokens, logprobs, *rest = want
    assert difference(want, want) is None
    changed = [list(p) for p in logprobs]
    token, value, rank = changed[2][0]
    changed[2][0] = (token, value * (1 + 2**-50), rank)
    found = difference(want, (tokens, changed, *rest))
    assert found is not None
    assert found[0].startswith("logprob ")
    assert found[1] == 2
    found = difference(want, ([*tokens[:4], tokens[4] ^ 1, tokens[5]], logprobs, *rest))
    assert found == (f"token {tokens[4] ^ 1}, alone {tokens[4]}", 4)
    found = difference(want, (tokens, logprobs, rest[0], rest[1] + "x", *rest[2:]))
    assert found is not None
    assert found[0].startswith("text ")


def test_aborted_requests_are_compared_as_far_as_they_came() -> None:
    tokenizer = Tokenizer.from_folder(str(BUNDLED))
    asked = Asked([300, 301, 302], GREEDY | {"max_tokens": 20})
    ran = run_batch(BUNDLED, tokenizer, {"dtype": "float32"}, Batch(0, {}, [(0, 0, 0)], {0: 7}), [asked])
    assert ran.outputs[0] is not None
    (got,) = bits(ran.outputs[0])
    assert (len(got[0]), got[4]) == (7, "abort")
    (want,) = run_alone(BUNDLED, tokenizer, {"dtype": "float32"}, asked)
    assert difference(want, got) is None
    assert difference(([0, *want[0][1:]], *want[1:]), got) is not None
