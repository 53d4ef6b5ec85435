"""The same request gives the same bits whatever its plans look like: alone, in batches, in chunks, after preemption,
on shared blocks, in reused slots. A small random model, plans made by hand."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from sampling_cases import random_params
from worker_cases import BLOCK, VOCAB, Request, RunnerFactory

from penstock.params import SamplingParams

DTYPES = [torch.float32, torch.bfloat16]
MODES = [
    {"temperature": 0.0},
    {"temperature": 0.9, "seed": 5},
    {"temperature": 1.0, "seed": 6, "top_p": 0.9, "top_k": 30},
    {"temperature": 0.8, "seed": 7, "repetition_penalty": 1.2, "presence_penalty": 0.5, "min_p": 0.02},
    {"temperature": 0.0, "frequency_penalty": 1.0, "bad_words_token_ids": [[3], [5, 6]]},
]


@pytest.fixture(scope="module", params=[(d, a) for d in DTYPES for a in ("Qwen3ForCausalLM", "LlamaForCausalLM")])
def factory(request: pytest.FixtureRequest) -> RunnerFactory:
    return RunnerFactory(*request.param)


def make_requests(count: int, seed: int) -> list[Request]:
    rng = random.Random(seed)
    shared = [rng.randrange(VOCAB) for _ in range(3 * BLOCK)]
    made = []
    for i in range(count):
        own = [rng.randrange(VOCAB) for _ in range(rng.choice([1, 2, 9, 31, 70]))]
        params = SamplingParams(max_tokens=None, logprobs=3, **MODES[i % len(MODES)])
        made.append(Request(f"r{i}", shared + own if i % 2 else own, params, rng.randint(3, 9)))
    return made


def test_batches_chunks_and_preemption(factory: RunnerFactory) -> None:
    requests = make_requests(15, seed=1)
    alone = [factory.driver().run_alone(r.fresh()) for r in requests]
    for seed, most_at_once in ((0, 15), (1, 4), (2, 9)):
        tried = [r.fresh() for r in requests]
        factory.driver().run_random(tried, random.Random(seed), most_at_once)
        for want, got in zip(alone, tried, strict=True):
            assert got.error is None
            assert got.result == want.result


@pytest.mark.parametrize("computed", [3 * BLOCK, BLOCK + 1, 0])
def test_shared_prefix_blocks(factory: RunnerFactory, computed: int) -> None:
    """Of the blocks that others share, the owner has computed so much before they start; the rest in the same step."""
    made = make_requests(14, seed=2)
    requests = [r for r in made if r.prompt[: 3 * BLOCK] == made[1].prompt[: 3 * BLOCK]]
    alone = [factory.driver().run_alone(r.fresh()) for r in requests]
    driver = factory.driver()
    tried = [r.fresh() for r in requests]
    owner = tried[0]
    if computed:
        driver.step([(owner, computed)])
    for i, request in enumerate(tried[1:]):
        driver.share_prefix(owner, request, 1 + i % 3)
    while not all(r.done for r in tried):
        driver.step([(r, len(r.tokens) - r.computed) for r in tried if not r.done])
    assert len(tried) == 7
    for want, got in zip(alone, tried, strict=True):
        assert got.result == want.result


def test_reused_slots_remember_nothing(factory: RunnerFactory) -> None:
    """Every feature toggled at random, slots taken and left all the time; each request is compared with itself alone
    in a runner that has never seen another."""
    rng = np.random.default_rng(9)
    requests = []
    for i in range(40):
        params = random_params(rng, VOCAB).clone(min_tokens=2, max_tokens=None)
        params.prompt_logprobs = int(rng.choice([0, 2])) if rng.random() < 0.3 else None
        prompt = [int(t) for t in rng.integers(0, 40, rng.choice([1, 5, 20, 50]))]
        requests.append(Request(f"q{i}", prompt, params, int(rng.integers(1, 6))))
    tried = [r.fresh() for r in requests]
    factory.driver().run_random(tried, random.Random(4), most_at_once=11)
    for request, got in zip(requests, tried, strict=True):
        want = factory.driver(num_blocks=12).run_alone(request.fresh())
        assert got.result == want.result
        assert len(want.answer) == request.max_new
