"""Steps that overlap give the bits of steps that do not: all sampling features, little room, aborts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from determinism_batches import BUNDLED, OVERLAPS, Asked, Batch, bits, check_batches, run_batch
from penstock.params import StructuredOutputsParams
from penstock.tokenizers.tokenizer import Tokenizer

BATCHES = 40
WAYS = [way for way in OVERLAPS if way != "not"]


@pytest.mark.parametrize("way", WAYS)
def test_random_batches(way: str, tmp_path: Path) -> None:
    seen, failures = check_batches("fp32", range(BATCHES), tmp_path, overlap=way)
    assert not failures, failures[0]
    missed = [what for what in ("preemptions", "prefix_hits", "chunks", "mixed_steps", "aborts") if not seen[what]]
    assert missed == [], f"these batches do not try all that they are meant to: {seen}"


def _requests() -> list[Asked]:
    """Some whose next token depends on the answer in the host's hands, between some whose does not."""
    prompts = [[300 + i, 301, 302 + i] for i in range(8)]
    kinds: list[dict[str, Any]] = [
        {},
        {"structured_outputs": StructuredOutputsParams(regex="(yes|no), [a-z ]{3,9}\\.")},
        {"structured_outputs": StructuredOutputsParams(choice=["red", "green", "blue"])},
        {"frequency_penalty": 0.7, "bad_words": ["e"]},
        {"temperature": 0.0},
        {"repetition_detection": {"max_pattern_size": 3, "min_pattern_size": 1, "min_count": 2}},
        {"logprobs": 3, "min_tokens": 5},
        {"structured_outputs": StructuredOutputsParams(json_object=True)},
    ]
    return [
        Asked(prompt, {"max_tokens": 24, "seed": i, "temperature": 1.0} | kind)
        for i, (prompt, kind) in enumerate(zip(prompts, kinds, strict=True))
    ]


@pytest.mark.parametrize("way", WAYS)
def test_structured_outputs_beside_others(way: str) -> None:
    tokenizer = Tokenizer.from_folder(str(BUNDLED))
    asked = _requests()
    batch = Batch(0, {"max_num_batched_tokens": 16}, [(2 * i, i, 0) for i in range(len(asked))], {})
    options = {"dtype": "float32"}
    want = run_batch(BUNDLED, tokenizer, options, batch, asked)
    got = run_batch(BUNDLED, tokenizer, options, batch, asked, way)
    assert [bits(output) for output in got.outputs] == [bits(output) for output in want.outputs]
    assert got.seen["steps"] > want.seen["steps"]  # answers that end by what is sampled run one step too many
