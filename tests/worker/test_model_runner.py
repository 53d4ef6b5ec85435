"""What a step answers: errors that stay in their row, rows that do not sample, states that come and go."""

from __future__ import annotations

import random

import pytest
import torch
from worker_cases import BLOCK, VOCAB, Request, RunnerFactory

from penstock.params import SamplingParams
from penstock.scheduler.plan import NewRow, Row, StepPlan


@pytest.fixture(scope="module")
def factory() -> RunnerFactory:
    return RunnerFactory(torch.float32)


def request(name: str, **params: object) -> Request:
    rng = random.Random(name)
    prompt = [rng.randrange(VOCAB) for _ in range(11)]
    return Request(name, prompt, SamplingParams(**{"temperature": 0.0, "max_tokens": None, **params}), 4)


def run_together(factory: RunnerFactory, requests: list[Request]) -> None:
    driver = factory.driver()
    while batch := [r for r in requests if not r.done]:
        driver.step([(r, len(r.tokens) - r.computed) for r in batch])
        for r in batch:
            if r.done:
                driver.remove(r)
    driver.step([(request("last"), 11)])  # takes in the last ones that are gone
    assert len(driver.runner._batch) == 1


def test_bad_parameters_fail_their_row_only(factory: RunnerFactory) -> None:
    requests = [
        request("a"),
        request("b", logit_bias={VOCAB: 1.0}),
        request("c", logprobs=1),
        request("d", bad_words_token_ids=[[-3]]),
        Request("e", [1, VOCAB + 2], SamplingParams(), 4),
        request("f", allowed_token_ids=[3], bad_words_token_ids=[[3]]),
        request("g", temperature=1.0, seed=3),
    ]
    run_together(factory, requests)
    errors = {r.request_id: r.error for r in requests if r.error is not None}
    assert sorted(errors) == ["b", "d", "e", "f"]
    assert "logit_bias" in errors["b"]
    assert "bad_words" in errors["d"]
    assert "prompt token ids" in errors["e"]
    assert "forbidden" in errors["f"]
    assert all(not r.answer for r in requests if r.error is not None)
    for good in (requests[0], requests[2], requests[6]):
        assert factory.driver().run_alone(good.fresh()).result == good.result


@pytest.mark.parametrize("fault", ["parameters", "token"])
def test_a_row_that_fails_is_computed_for_those_that_share_it(factory: RunnerFactory, fault: str) -> None:
    prompt = [random.Random(3).randrange(VOCAB) for _ in range(3 * BLOCK + 2)]
    greedy = SamplingParams(temperature=0.0, logprobs=2)
    if fault == "parameters":
        bad = Request("bad", prompt, SamplingParams(logit_bias={VOCAB: 1.0}, prompt_logprobs=1), 4)
    else:
        bad = Request("bad", [*prompt[:-1], VOCAB + 2], greedy, 4)
    good = Request("good", [*prompt, 5], greedy, 4)
    driver = factory.driver()
    driver.share_prefix(bad, good, 3)
    first, _ = driver.step([(bad, len(prompt)), (good, 3)])
    assert first.error
    assert first.prompt_logprobs is None
    assert driver.run_alone(good).result == factory.driver().run_alone(good.fresh()).result


def test_a_step_in_which_every_row_fails(factory: RunnerFactory) -> None:
    bad = request("b", logit_bias={VOCAB: 1.0})
    rows = factory.driver().step([(bad, 11)])
    assert rows[0].error
    assert rows[0].token_ids == []


def test_a_row_that_fails_may_be_planned_again_and_its_name_reused(factory: RunnerFactory) -> None:
    driver, bad = factory.driver(), request("x", logit_bias={VOCAB: 1.0})
    driver.step([(bad, 5)])
    driver.step([(bad, 6)])
    assert bad.error
    driver.remove(bad)
    good = request("x")
    assert driver.run_alone(good).result == factory.driver().run_alone(request("x")).result


def test_rows_that_do_not_sample_answer_nothing(factory: RunnerFactory) -> None:
    driver, part, whole = factory.driver(), request("part"), request("whole", logprobs=0)
    first, second = driver.step([(part, 4), (whole, 11)])
    assert first.token_ids == []
    assert first.logprobs is None
    assert len(second.token_ids) == 1
    assert len(second.logprobs or []) == 1
    (only,) = driver.step([(part, 2)])  # a step in which nothing samples
    assert only.token_ids == []


def test_a_plan_without_rows(factory: RunnerFactory) -> None:
    driver, known = factory.driver(), request("known")
    driver.step([(known, 11)])
    driver.remove(known)
    assert driver.step([]) == []
    assert len(driver.runner._batch) == 0


def test_min_tokens_holds_back_the_end(factory: RunnerFactory) -> None:
    free = factory.driver().run_alone(request("m"))
    held = factory.driver().run_alone(request("m", min_tokens=2, eos_token_ids=[free.answer[0]], stop_token_ids=[8]))
    assert free.answer[0] not in held.answer[:2]
    assert 8 not in held.answer[:2]


def test_a_plan_that_does_not_follow_on_is_refused(factory: RunnerFactory) -> None:
    params = SamplingParams()
    new = NewRow("n", [1, 2, 3], 3, params)
    with pytest.raises(AssertionError, match="does not have"):
        factory.driver().runner.execute(StepPlan(0, [], [new], [Row("n", 0, 4, [1], True)]))
    with pytest.raises(AssertionError, match="before its last token"):
        factory.driver().runner.execute(StepPlan(0, [], [new], [Row("n", 0, 2, [1], True)]))


def test_many_requests_and_long_ones_grow_the_tables(factory: RunnerFactory) -> None:
    prompt = [random.Random(1).randrange(VOCAB) for _ in range(400)]
    requests = [Request(f"g{i}", prompt[: 5 + 13 * i], SamplingParams(temperature=0.0), 3) for i in range(30)]
    driver = factory.driver(num_blocks=2 + sum(len(r.prompt) // BLOCK + 2 for r in requests))
    while not all(r.done for r in requests):
        driver.step([(r, len(r.tokens) - r.computed) for r in requests])
    for request_ in requests[::7]:
        assert factory.driver().run_alone(request_.fresh()).answer == request_.answer
