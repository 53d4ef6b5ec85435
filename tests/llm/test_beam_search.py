"""LLM.beam_search finds what transformers finds, with the same scores, whatever else is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from penstock import LLM, BeamSearchParams, SamplingParams
from penstock.errors import ClientError

EOS = [3, 7]
PROMPTS = [[5, 9, 11], [1] * 40, [17, 30]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 31 tokens, two of which end a text: searches meet all their cases in a few tokens."""
    torch.manual_seed(5)
    config = transformers.Qwen2Config(
        vocab_size=31,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        initializer_range=0.3,
        tie_word_embeddings=False,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    path = tmp_path_factory.mktemp("beams")
    transformers.Qwen2ForCausalLM(config).eval().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def ours(folder: Path) -> Iterator[LLM]:
    llm = LLM(str(folder), skip_tokenizer_init=True, dtype="float32", num_gpu_blocks_override=100, cpu_threads=1)
    yield llm
    llm.shutdown()


CASES: list[dict[str, Any]] = [
    {"beam_width": 1},
    {"beam_width": 2, "early_stopping": True},
    {"beam_width": 4},
    {"beam_width": 4, "length_penalty": 2.0},
    {"beam_width": 4, "length_penalty": 2.0, "early_stopping": "never"},
    {"beam_width": 4, "length_penalty": -1.0},
    {"beam_width": 3, "length_penalty": 0.0, "early_stopping": "never"},
    {"beam_width": 5, "early_stopping": True, "length_penalty": 0.5},
    {"beam_width": 3, "ignore_eos": True},
    {"beam_width": 3, "min_tokens": 6},
    {"beam_width": 8, "max_tokens": 1},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_finds_what_transformers_finds(ours: LLM, theirs: Any, case: dict[str, Any]) -> None:
    params = BeamSearchParams(**{"max_tokens": 14, **case})
    outputs = ours.beam_search([{"prompt_token_ids": p} for p in PROMPTS], params)
    for prompt, output in zip(PROMPTS, outputs, strict=True):
        ids = torch.tensor([prompt])
        found = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=params.beam_width,
            num_return_sequences=params.beam_width,
            max_new_tokens=params.max_tokens,
            min_new_tokens=params.min_tokens or None,
            length_penalty=params.length_penalty,
            early_stopping=params.early_stopping,
            eos_token_id=None if params.ignore_eos else EOS,
            do_sample=False,
            pad_token_id=0,
            output_scores=True,
            return_dict_in_generate=True,
        )
        assert len(output.sequences) == params.beam_width
        for sequence, ids_found in zip(output.sequences, found.sequences.tolist(), strict=True):
            assert sequence.tokens == ids_found[: len(sequence.tokens)]
            assert set(ids_found[len(sequence.tokens) :]) <= {0, EOS[0]}  # filling
            ended = not params.ignore_eos and sequence.tokens[-1] in EOS
            assert sequence.finish_reason == ("stop" if ended else "length")
            length = len(sequence.tokens) - len(prompt)
            assert [next(iter(p)) for p in sequence.logprobs] == sequence.tokens[len(prompt) :]
            total = sum(p[i].logprob for p, i in zip(sequence.logprobs, sequence.tokens[len(prompt) :], strict=True))
            assert sequence.cum_logprob == pytest.approx(total, abs=1e-6)
            assert length <= params.max_tokens
        if params.beam_width > 1:
            scores = [s.cum_logprob / (len(s.tokens) - len(prompt)) ** params.length_penalty for s in output.sequences]
            assert scores == pytest.approx(found.sequences_scores.tolist(), abs=1e-4)


def test_searches_are_the_same_alone_and_together(ours: LLM) -> None:
    params = BeamSearchParams(beam_width=4, max_tokens=10)
    together = ours.beam_search(PROMPTS, params)
    ours.reset_prefix_cache()
    assert ours.beam_search(PROMPTS, params, concurrency_limit=1) == together
    greedy = ours.generate(PROMPTS, SamplingParams(temperature=0, max_tokens=10, detokenize=False), use_tqdm=False)
    one = ours.beam_search(PROMPTS, BeamSearchParams(beam_width=1, max_tokens=10))
    assert [o.sequences[0].tokens[len(p) :] for o, p in zip(one, PROMPTS, strict=True)] == [
        o.outputs[0].token_ids for o in greedy
    ]


def test_what_cannot_be_searched_is_refused(ours: LLM) -> None:
    with pytest.raises(ClientError, match="max-logprobs allows 20"):
        ours.beam_search([PROMPTS[0]], BeamSearchParams(beam_width=19, max_tokens=2))
    with pytest.raises(ClientError, match="at least 1") as e:
        BeamSearchParams(beam_width=0, max_tokens=2)
    assert e.value.param == "beam_width"
    with pytest.raises(ClientError, match="'never'"):
        BeamSearchParams(beam_width=1, max_tokens=2, early_stopping="always")
    with pytest.raises(ClientError, match=r"LLM\.beam_search"):
        SamplingParams(use_beam_search=True)
    assert ours.engine.num_unfinished == 0


def test_texts_of_the_bundled_model() -> None:
    llm = LLM(max_model_len=256, num_gpu_blocks_override=100, cpu_threads=1)
    params = BeamSearchParams(beam_width=3, max_tokens=6)
    (output,) = llm.beam_search("The capital of France is", params)
    best = output.sequences[0]
    assert best.text is not None
    assert best.text.startswith("The capital of France is")
    texts = [p[i].decoded_token for p, i in zip(best.logprobs, best.tokens[-len(best.logprobs) :], strict=True)]
    assert best.text.endswith("".join(t or "" for t in texts)) or best.finish_reason == "stop"
    llm.shutdown()
