"""The same request gives the same bits: alone, in any batch, with any chunking, after a prefix hit, after preemption.

Run on the bundled model, through `LLM`; tokens and log probabilities are compared for equality, not closeness.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock import LLM, RequestOutput, SamplingParams

DTYPES = ["bfloat16", "float32"]
MODES = {
    "greedy": dict(temperature=0.0),
    "seeded": dict(temperature=0.9, top_p=0.95, top_k=50, seed=1234),
    "penalised": dict(temperature=0.7, seed=7, repetition_penalty=1.2, presence_penalty=0.5, min_p=0.02),
}


def make_llm(model: Path, dtype: str, **options: Any) -> LLM:
    defaults: dict[str, Any] = {"max_model_len": 512, "kv_cache_memory_bytes": 64 << 20}
    return LLM(model=str(model), dtype=dtype, **(defaults | options))


def prompts() -> list[dict[str, list[int]]]:
    """24 token-id prompts of 3..200 tokens; a third share a 64-token beginning."""
    rng = random.Random(5)
    shared = [rng.randrange(300, 3000) for _ in range(64)]
    made = []
    for i in range(24):
        own = [rng.randrange(300, 3000) for _ in range(rng.choice([3, 17, 40, 121, 200]))]
        made.append({"prompt_token_ids": shared + own if i % 3 == 0 else own})
    return made


def params(**mode: Any) -> SamplingParams:
    return SamplingParams(max_tokens=24, ignore_eos=True, logprobs=3, **mode)


def bits(output: RequestOutput) -> tuple[list[int], list[list[tuple[int, float]]]]:
    answer = output.outputs[0]
    assert answer.logprobs is not None
    return answer.token_ids, [[(t, p.logprob) for t, p in position.items()] for position in answer.logprobs]


@pytest.fixture(scope="module", params=DTYPES)
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def alone(dtype: str, bundled_model: Path) -> Iterator[dict[str, list[Any]]]:
    """Every prompt by itself, without a prefix cache: what all other ways must equal."""
    llm = make_llm(bundled_model, dtype, enable_prefix_caching=False)
    yield {
        name: [bits(llm.generate([p], params(**mode), use_tqdm=False)[0]) for p in prompts()]
        for name, mode in MODES.items()
    }
    llm.shutdown()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="batch"),
        pytest.param({"max_num_batched_tokens": 48, "max_num_seqs": 24}, id="chunked"),
        pytest.param({"max_num_seqs": 5}, id="queued"),
        pytest.param({"num_gpu_blocks_override": 36, "block_size": 16, "max_model_len": 400}, id="preempted"),
    ],
)
def test_equals_alone(options: dict[str, Any], dtype: str, alone: dict[str, list[Any]], bundled_model: Path) -> None:
    llm = make_llm(bundled_model, dtype, **options)
    for name, mode in MODES.items():
        for _ in range(2):  # the second pass finds every prompt in the prefix cache
            outputs = llm.generate(prompts(), params(**mode), use_tqdm=False)
            assert [bits(o) for o in outputs] == alone[name], name
    llm.shutdown()


def test_mixed_modes_in_one_batch(dtype: str, alone: dict[str, list[Any]], bundled_model: Path) -> None:
    llm = make_llm(bundled_model, dtype)
    names = [list(MODES)[i % len(MODES)] for i in range(24)]
    outputs = llm.generate(prompts(), [params(**MODES[n]) for n in names], use_tqdm=False)
    assert [bits(o) for o in outputs] == [alone[n][i] for i, n in enumerate(names)]
    assert any(o.num_cached_tokens for o in llm.generate(prompts(), params(), use_tqdm=False))
    llm.shutdown()
