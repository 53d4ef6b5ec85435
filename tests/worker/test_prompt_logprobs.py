"""Prompt logprobs: right, and the same wherever the prompt was cut."""

from __future__ import annotations

import random

import pytest
import torch
from loaded_weights import loaded_weights
from worker_cases import VOCAB, Request, RunnerFactory

from penstock.params import SamplingParams
from penstock.worker import model_runner

PROMPT = [random.Random(3).randrange(VOCAB) for _ in range(61)]


@pytest.fixture(scope="module")
def factory() -> RunnerFactory:
    return RunnerFactory(torch.float32)


def request(count: int, **params: object) -> Request:
    return Request("p", PROMPT, SamplingParams(temperature=0.0, max_tokens=None, prompt_logprobs=count, **params), 2)


def hugging_face_logprobs(factory: RunnerFactory) -> torch.Tensor:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    shape = factory.shape
    config = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        rms_norm_eps=shape.norm_eps,
        max_position_embeddings=shape.max_position,
        rope_theta=shape.rope.theta,
        tie_word_embeddings=True,
    )
    model = Qwen3ForCausalLM(config)
    missing, unexpected = model.load_state_dict(loaded_weights(factory.model), strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0].log_softmax(-1)


def test_equal_to_hugging_face(factory: RunnerFactory) -> None:
    got = factory.driver().run_alone(request(4)).prompt_logprobs
    want = hugging_face_logprobs(factory)
    assert sorted(got) == list(range(1, len(PROMPT)))
    for position, found in got.items():
        row = want[position - 1]
        assert found.token_ids[0] == PROMPT[position]
        assert found.rank == pytest.approx(int((row > row[PROMPT[position]]).sum()) + 1, abs=1)
        assert len(found.token_ids) == 5
        torch.testing.assert_close(torch.tensor(found.logprobs), row[found.token_ids], atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.tensor(found.logprobs[1:]), row.topk(4).values, atol=1e-4, rtol=0)


@pytest.mark.parametrize("chunks", [[61], [1] * 61, [7, 50, 4], [60, 1], [8, 8, 45]])
@pytest.mark.parametrize("rows_at_once", [1, 5])
def test_equal_across_chunk_borders(
    factory: RunnerFactory, chunks: list[int], rows_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = factory.driver().run_alone(request(3))
    monkeypatch.setattr(model_runner, "LOGITS_AT_ONCE", rows_at_once * VOCAB)
    driver, chunked = factory.driver(), request(3)
    for count in chunks:
        driver.step([(chunked, count)])
    driver.run_alone(chunked)
    assert chunked.result == whole.result


def test_all_of_the_vocabulary_none_beside_the_token_and_not_asked_for(factory: RunnerFactory) -> None:
    every, none = (factory.driver().run_alone(request(n)).prompt_logprobs for n in (-1, 0))
    for position in range(1, len(PROMPT)):
        assert sorted(every[position].token_ids[1:]) == list(range(VOCAB))
        assert none[position].token_ids == [PROMPT[position]]
        assert none[position].logprobs[0] == every[position].logprobs[0]
        assert none[position].rank == every[position].rank == every[position].token_ids[1:].index(PROMPT[position]) + 1
    without = Request("w", PROMPT, SamplingParams(temperature=0.0), 1)
    assert factory.driver().run_alone(without).prompt_logprobs == {}


def test_a_prompt_of_one_token_has_none(factory: RunnerFactory) -> None:
    one = Request("o", [5], SamplingParams(temperature=0.0, prompt_logprobs=2), 3)
    assert factory.driver().run_alone(one).prompt_logprobs == {}


def test_sampling_parameters_leave_them_alone(factory: RunnerFactory) -> None:
    plain = factory.driver().run_alone(request(2))
    bent = factory.driver().run_alone(request(2, logit_bias={PROMPT[5]: 50.0}, repetition_penalty=2.0))
    assert bent.prompt_logprobs == plain.prompt_logprobs
    assert bent.answer != plain.answer
