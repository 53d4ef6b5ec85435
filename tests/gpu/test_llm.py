"""The bundled model on a GPU, through the front door: recorded or not, it says what it says on a CPU."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch

from penstock import LLM, SamplingParams

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch.cuda sees"),
]

PROMPTS = ["The sun rises in the", "Water is made of", "One, two, three,", "A cat is an"]
GREEDY = SamplingParams(temperature=0.0, max_tokens=24, logprobs=1)
TOLERANCE = 2e-3  # of logprobs in float32: products add in another order


def answers(model: Path, device: str, **options: Any) -> list[tuple[list[int], list[float]]]:
    """On a GPU with all graphs recorded, if any are."""
    llm = LLM(model=str(model), device=device, dtype="float32", max_model_len=256, max_num_seqs=8, **options)
    while device == "cuda" and llm.collective_rpc(lambda worker: worker.idle()) == [True]:
        pass
    outputs = llm.generate(PROMPTS, GREEDY, use_tqdm=False)
    (facts,) = llm.collective_rpc("describe")
    assert facts["platform"] == device
    # Of 51 sizes; where one could not be recorded, there is a warning, and those behind it are missing, too.
    assert (facts.get("graphs", 0) > 50) == (device == "cuda" and "enforce_eager" not in options)
    found = []
    for output in outputs:
        given = output.outputs[0]
        chosen = [step[i].logprob for step, i in zip(given.logprobs or [], given.token_ids, strict=True)]
        found.append((list(given.token_ids), chosen))
    del llm
    gc.collect()
    return found


@pytest.fixture(scope="module")
def on_cpu(bundled_model: Path) -> list[tuple[list[int], list[float]]]:
    return answers(bundled_model, "cpu")


@pytest.mark.parametrize(
    "options",
    [{"enforce_eager": True}, {"compilation_config": 1}, {}, {"compilation_config": 3}],
    ids=["eager", "around-attention", "default", "compiled"],
)
def test_answers_are_those_of_a_cpu(
    options: dict[str, Any], bundled_model: Path, on_cpu: list[tuple[list[int], list[float]]]
) -> None:
    for (tokens, logprobs), (expected, near) in zip(answers(bundled_model, "cuda", **options), on_cpu, strict=True):
        assert tokens == expected
        assert logprobs == pytest.approx(near, abs=TOLERANCE)


def test_graphs_are_recorded_again_after_sleep(bundled_model: Path) -> None:
    options = {"dtype": "float32", "max_model_len": 256, "max_num_seqs": 8, "enable_sleep_mode": True}
    llm = LLM(model=str(bundled_model), device="cuda", **options)
    said = []
    for level in (0, 1, 2):
        if level:
            llm.sleep(level=level)
            llm.wake_up()
        while llm.collective_rpc(lambda worker: worker.idle()) == [True]:
            pass
        (facts,) = llm.collective_rpc("describe")
        assert facts["graphs"] > 50
        said.append([list(output.outputs[0].token_ids) for output in llm.generate(PROMPTS, GREEDY, use_tqdm=False)])
    assert said[1] == said[0]
    assert said[2] == said[0]
