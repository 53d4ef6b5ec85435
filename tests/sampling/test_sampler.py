"""The sampler against a plain slow twin, and the promise that a row's result does not depend on its batch."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sampling_cases import Case, random_case, random_logits, sample
from sampling_twin import distribution, processed, ranked_logprobs

from penstock.params import SamplingParams


def one_case(logits: np.ndarray, **params: object) -> Case:
    return Case(logits, SamplingParams(**{"max_tokens": None, "seed": 1, **params}), [1, 2], [])


@pytest.mark.parametrize("vocab_size", [50, 256, 1000, 2500])
@pytest.mark.parametrize("coarse", [False, True])
def test_every_row_draws_what_the_twin_allows(vocab_size: int, coarse: bool) -> None:
    rng = np.random.default_rng(vocab_size)
    cases = [random_case(rng, vocab_size, coarse) for _ in range(60)]
    result = sample(cases)
    for i, case in enumerate(cases):
        final = processed(case.logits, case.params, case.prompt, case.answer)
        if np.isneginf(final).all():
            assert "forbidden" in result.errors[i]
            continue
        allowed = distribution(final, case.params)
        assert allowed[result.token_ids[i]] > 0, (i, case.params)
        if case.params.greedy:
            assert result.token_ids[i] == np.argmax(final)


@pytest.mark.parametrize("vocab_size", [50, 1000, 5000])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_row_is_bit_equal_alone_and_in_any_batch(vocab_size: int, coarse: bool) -> None:
    rng = np.random.default_rng(17 + vocab_size)
    cases = [random_case(rng, vocab_size, coarse) for _ in range(40)]
    for i, case in enumerate(cases):
        if case.params.seed is None:
            cases[i] = replace(case, params=case.params.clone(seed=i))
    together = sample(cases)
    shuffled = list(rng.permutation(len(cases)))
    mixed = sample([cases[i] for i in shuffled])
    for place, i in enumerate(shuffled):
        alone = sample([cases[i]])
        assert together.token_ids[i] == mixed.token_ids[place] == alone.token_ids[0]
        assert together.logprobs.get(i) == mixed.logprobs.get(place) == alone.logprobs.get(0)
        assert together.errors.get(i) == mixed.errors.get(place) == alone.errors.get(0)


def test_large_vocabularies_are_bit_equal_too() -> None:
    """Beyond 32768 elements torch splits work between threads in other ways."""
    torch.set_num_threads(2)
    rng = np.random.default_rng(5)
    settings = [
        {},
        {"min_p": 0.05},
        {"top_k": 50},
        {"top_p": 0.8},
        {"top_k": 2000, "top_p": 0.99},
        {"temperature": 0.0},
        {"temperature": 2.0, "top_p": 0.9999},
    ]
    cases = [
        one_case(random_logits(rng, 70_001, coarse=i % 2 == 0), logprobs=3, **settings[i % len(settings)])
        for i in range(21)
    ]
    together = sample(cases)
    for i, case in enumerate(cases):
        alone = sample([case])
        assert together.token_ids[i] == alone.token_ids[0]
        assert together.logprobs[i] == alone.logprobs[0]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 1.7, "min_p": 0.1},
        {"top_k": 4},
        {"top_p": 0.75},
        {"top_p": 0.9, "top_k": 6, "min_p": 0.05},
        {"top_p": 0.95, "min_p": 0.15},
        {"logit_bias": {3: 2.0, 4: -50.0}, "repetition_penalty": 1.4, "presence_penalty": 0.6},
        {"allowed_token_ids": [1, 5, 9, 11], "top_p": 0.8},
    ],
)
@pytest.mark.parametrize("vocab_size", [12, 400])
def test_the_distribution_is_right(params: dict, vocab_size: int) -> None:
    """Chi-square over many positions and seeds; 0.1 % of right samplers would fail a cell, the seed is fixed."""
    rng = np.random.default_rng(3)
    logits = (rng.normal(size=vocab_size) * 1.5).astype(np.float32)
    cases = []
    for i in range(6000):
        case = one_case(logits, **params)
        case.params.seed = i
        case.answer = [2, 3, 3]
        cases.append(case)
    counts = np.bincount(sample(cases).token_ids, minlength=vocab_size)
    want = distribution(processed(logits, cases[0].params, [1, 2], [2, 3, 3]), cases[0].params) * len(cases)
    assert (counts[want == 0] == 0).all()
    common = want >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(want[common], want[~common].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    freedom = max(1, len(expected) - 1)
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert statistic < freedom + 4 * math.sqrt(2 * freedom) + 4


def test_the_number_of_candidates_looked_at_does_not_matter() -> None:
    """A nucleus of hundreds of tokens needs several rounds; a neighbour's needs do not leak in."""
    flat = np.linspace(1.0, 0.0, 3000, dtype=np.float32)
    peaked = flat.copy()
    peaked[7] = 30.0
    cases = [one_case(x, top_p=p, seed=s) for s in range(30) for x in (flat, peaked) for p in (0.02, 0.3, 0.9999)]
    for case, token in zip(cases, sample(cases).token_ids, strict=True):
        assert distribution(case.logits, case.params)[token] > 0
        assert sample([case]).token_ids[0] == token


def test_same_seed_same_tokens_other_seed_other_tokens() -> None:
    logits = np.zeros(1000, np.float32)

    def tokens(seed: int) -> list[int]:
        cases = [Case(logits, SamplingParams(seed=seed, max_tokens=None), [1], [0] * n) for n in range(30)]
        return sample(cases).token_ids.tolist()

    assert tokens(5) == tokens(5)
    assert len(set(tokens(5))) > 25
    assert sum(a == b for a, b in zip(tokens(5), tokens(6), strict=True)) < 3


def test_logprobs_are_raw_ranked_and_consistent() -> None:
    rng = np.random.default_rng(8)
    for coarse in (False, True):
        for n in (0, 1, 5, 200):
            logits = random_logits(rng, 200, coarse)
            # The bias moves the choice, not the logprobs.
            case = one_case(logits, temperature=0.0, logprobs=n, logit_bias={3: 100.0}, repetition_penalty=2.0)
            got = sample([case]).logprobs[0]
            order, want = ranked_logprobs(logits)
            assert got.token_ids == [3, *order[:n]]
            assert got.rank == order.index(3) + 1
            np.testing.assert_allclose(got.logprobs, want[got.token_ids], atol=1e-5)
            for token, value in zip(got.token_ids[1:], got.logprobs[1:], strict=True):
                assert token != 3 or value == got.logprobs[0]


def test_minus_one_is_the_whole_vocabulary() -> None:
    logits = random_logits(np.random.default_rng(1), 333)
    got = sample([one_case(logits, temperature=0.0, logprobs=-1)]).logprobs[0]
    assert sorted(got.token_ids[1:]) == list(range(333))
    assert got.rank == 1
    assert sum(math.exp(v) for v in got.logprobs[1:]) == pytest.approx(1.0, abs=1e-4)


def test_rows_without_logprobs_have_none() -> None:
    logits = random_logits(np.random.default_rng(1), 100)
    result = sample([one_case(logits), one_case(logits, logprobs=2), one_case(logits)])
    assert list(result.logprobs) == [1]


def test_a_row_without_a_possible_token_fails_alone() -> None:
    logits = random_logits(np.random.default_rng(1), 600)
    broken = logits.copy()
    broken[17] = np.nan
    impossible = {"allowed_token_ids": [4], "bad_words_token_ids": [[4]]}
    cases = [
        one_case(logits, temperature=0.0, **impossible),
        one_case(logits, temperature=0.0),
        one_case(broken, temperature=0.0, logprobs=1),
        one_case(logits, **impossible),
        one_case(logits, top_p=0.5, **impossible),
        one_case(broken),
        one_case(broken, top_k=5),
        one_case(logits, top_k=5),
    ]
    result = sample(cases)
    assert sorted(result.errors) == [0, 2, 3, 4, 5, 6]
    assert all("forbidden" in result.errors[i] for i in (0, 3, 4))
    assert all("not finite" in result.errors[i] for i in (2, 5, 6))
    assert result.logprobs == {}
    assert result.token_ids[1] == np.argmax(logits)
    assert result.token_ids[7] == sample([cases[7]]).token_ids[0]


def test_named_tokens_have_the_log_probabilities_that_any_token_has() -> None:
    rng = np.random.default_rng(3)
    logits = random_logits(rng, 5000, coarse=True)
    ids = [int(i) for i in rng.choice(5000, 40)]
    named = one_case(logits, logprobs=0, logprob_token_ids=ids)
    others = [one_case(random_logits(rng, 5000, coarse=False), logprobs=2) for _ in range(3)]
    found = sample([*others, named]).logprobs
    everything = sample([one_case(logits, logprobs=5000)]).logprobs[0]
    rank_of = {t: rank for rank, t in enumerate(everything.token_ids[1:], 1)}
    value_of = dict(zip(everything.token_ids, everything.logprobs, strict=True))
    assert found[3].token_ids[1:] == ids
    assert found[3].logprobs[1:] == [value_of[i] for i in ids]
    assert found[3].ranks == [rank_of[i] for i in ids]
    assert found[0] == sample([others[0]]).logprobs[0]
