"""The bundled model with the GPU's kernels, in Triton's interpreter: it says what it says with those of the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers import ROOT

PROGRAM = """
import json, sys
from penstock import LLM, SamplingParams
model, attention = sys.argv[1:]
llm = LLM(model=model, device="cpu", dtype="float32", max_model_len=64, max_num_seqs=4, attention_backend=attention)
asked = SamplingParams(temperature=0.0, max_tokens=5, logprobs=1)
outputs = [o.outputs[0] for o in llm.generate(["The sun rises in the", "Water is"], asked, use_tqdm=False)]
logprobs = [[step[i].logprob for step, i in zip(o.logprobs, o.token_ids)] for o in outputs]
(facts,) = llm.collective_rpc("describe")
print(json.dumps([[list(o.token_ids) for o in outputs], logprobs, facts["attention"]]))
"""


def answers(model: Path, attention: str, **environment: str) -> tuple[list[list[int]], list[list[float]], str]:
    """(tokens, their log probabilities, class of the attention backend)"""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model), attention],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    tokens, logprobs, name = json.loads(run.stdout.splitlines()[-1])
    return tokens, logprobs, name


def test_answers_are_those_of_the_cpu(bundled_model: Path) -> None:
    pytest.importorskip("triton")
    tokens, logprobs, name = answers(bundled_model, "TRITON_ATTN", PENSTOCK_TRITON="interpret")
    expected, near, _ = answers(bundled_model, "auto")
    assert name == "TritonPagedAttention"
    assert tokens == expected
    for got, want in zip(logprobs, near, strict=True):
        assert got == pytest.approx(want, abs=1e-3)
