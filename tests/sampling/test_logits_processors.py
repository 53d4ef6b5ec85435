"""What each parameter does to the logits, against the plain twin; and the table of parameters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sampling_cases import CPU, Case, random_logits, sample
from sampling_twin import processed

from penstock import envs
from penstock.errors import ClientError
from penstock.ops import kernels
from penstock.params import SamplingParams
from penstock.sampling.batch_params import ParamsTable
from penstock.sampling.history import RowHistory
from penstock.sampling.logits_processors import LogitsProcessor
from penstock.sampling.sampler import Sampler

VOCAB = 300
FEATURES: dict[str, dict] = {
    "allowed": {"allowed_token_ids": [5, 9, 9, 200]},
    "bad words": {"bad_words_token_ids": [[7], [3, 4], [2, 3, 11], [1, 2, 3, 12], [9, 9, 9, 9, 9, 9, 13]]},
    "min tokens": {"min_tokens": 4, "stop_token_ids": [6, 999], "eos_token_ids": [2]},
    "min tokens without eos": {"min_tokens": 4, "ignore_eos": True, "stop_token_ids": [6], "eos_token_ids": [2]},
    "min tokens reached": {"min_tokens": 3, "eos_token_ids": [2]},
    "bias": {"logit_bias": {0: 3.5, 299: -100.0}},
    "repetition": {"repetition_penalty": 1.7},
    "frequency": {"frequency_penalty": 0.9},
    "presence": {"presence_penalty": -1.1},
    "everything": {
        "allowed_token_ids": list(range(200)),
        "bad_words_token_ids": [[2, 3, 11], [40]],
        "min_tokens": 9,
        "stop_token_ids": [6],
        "logit_bias": {3: 1.0, 50: 2.0},
        "repetition_penalty": 0.7,
        "frequency_penalty": -0.3,
        "presence_penalty": 0.4,
    },
    "nothing": {},
}


def history_of(cases: list[Case]) -> RowHistory:
    tokens = np.zeros((len(cases), 64), np.int32)
    for i, c in enumerate(cases):
        tokens[i, : len(c.prompt) + len(c.answer)] = c.prompt + c.answer
    lens = [(len(c.prompt), len(c.prompt) + len(c.answer)) for c in cases]
    return RowHistory(tokens, np.arange(len(cases)), *(np.array(x) for x in zip(*lens, strict=True)))


def apply_all(cases: list[Case]) -> np.ndarray:
    table = ParamsTable(VOCAB, CPU.copy_in)
    for i, c in enumerate(cases):
        table.set(i, c.params, seed=0)
    logits = torch.from_numpy(np.stack([c.logits for c in cases])).clone()
    history = history_of(cases)
    for processor in table.select(np.arange(len(cases))).processors:
        processor.apply(logits, history)
    return logits.numpy()


def feature_cases() -> list[Case]:
    rng = np.random.default_rng(2)
    return [
        Case(random_logits(rng, VOCAB), SamplingParams(max_tokens=None, **params), [1, 8, 8, 3], answer)
        for answer in ([], [2, 3], [1, 2, 3], [9, 9, 9, 9, 9, 9])
        for params in FEATURES.values()
    ]


@pytest.fixture(params=kernels.names())
def computed_by(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set that the machine can run, and plain torch."""
    kernels.choose(request.param)
    yield request.param
    kernels.choose(envs.CPU_ISA)


def test_each_feature_equals_the_twin_bit_for_bit_in_one_batch(computed_by: str) -> None:
    cases = feature_cases()
    got = apply_all(cases)
    for case, row in zip(cases, got, strict=True):
        want = processed(case.logits, case.params, case.prompt, case.answer)
        assert row.tobytes() == want.tobytes(), case.params


def test_each_feature_alone_equals_the_batch(computed_by: str) -> None:
    cases = feature_cases()
    together = apply_all(cases)
    for i, case in enumerate(cases):
        assert apply_all([case])[0].tobytes() == together[i].tobytes()


def test_more_penalised_rows_than_are_counted_at_once(computed_by: str) -> None:
    rng = np.random.default_rng(4)
    params = SamplingParams(frequency_penalty=0.5, presence_penalty=0.1)
    cases = [Case(random_logits(rng, VOCAB), params, [1], [int(t) for t in rng.integers(0, 9, 20)]) for _ in range(50)]
    for case, row in zip(cases, apply_all(cases), strict=True):
        assert row.tobytes() == processed(case.logits, case.params, case.prompt, case.answer).tobytes()


def test_rows_without_features_have_no_processors() -> None:
    table = ParamsTable(VOCAB, CPU.copy_in)
    table.set(0, SamplingParams(), 0)
    table.set(1, SamplingParams(logit_bias={1: 1.0}), 0)
    assert table.select(np.array([0])).processors == []
    assert len(table.select(np.array([0, 1])).processors) == 1


def test_a_selection_is_kept_until_something_changes() -> None:
    table = ParamsTable(VOCAB, CPU.copy_in)
    table.set(0, SamplingParams(temperature=0.0), 0)
    table.set(1, SamplingParams(), 0)
    first = table.select(np.array([0, 1]))
    assert table.select(np.array([0, 1])) is first
    other = table.select(np.array([1, 0]))
    assert other.any_draw
    assert other.temperature_S.tolist() == [1.0, 0.0]
    table.set(1, SamplingParams(temperature=0.0, min_p=0.5), 0)
    assert not table.select(np.array([1, 0])).any_draw


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"logit_bias": {VOCAB: 1.0}}, "logit_bias"),
        ({"allowed_token_ids": [-1]}, "allowed_token_ids"),
        ({"bad_words_token_ids": [[1, VOCAB + 5]]}, "bad_words"),
    ],
)
def test_ids_outside_of_the_vocabulary_are_refused_by_name(params: dict, param: str) -> None:
    table = ParamsTable(VOCAB, CPU.copy_in)
    with pytest.raises(ClientError, match=param) as caught:
        table.set(0, SamplingParams(**params), 0)
    assert caught.value.param == param


def test_a_mask_from_outside_comes_first() -> None:
    class OnlyEven(LogitsProcessor):
        def apply(self, logits_SV: torch.Tensor, rows: RowHistory) -> None:
            logits_SV[:, 1::2] = -torch.inf

    case = Case(random_logits(np.random.default_rng(0), VOCAB), SamplingParams(temperature=0, logprobs=1), [1], [])
    case.logits[7] = 50.0
    table = ParamsTable(VOCAB, CPU.copy_in)
    table.set(0, case.params, 0)
    logits = torch.from_numpy(case.logits[None]).clone()
    result = Sampler(CPU).sample(logits, table.select(np.array([0])), history_of([case]), masks=[OnlyEven()]).read()
    assert result.token_ids[0] == 2 * np.argmax(case.logits[::2])
    assert result.logprobs[0].token_ids[1] == 7  # logprobs are the model's own
    assert sample([case]).token_ids[0] == 7
