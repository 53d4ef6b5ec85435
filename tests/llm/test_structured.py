"""Structured outputs with the bundled model: whatever ends is what was asked for, alone and in any company."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from penstock import LLM, SamplingParams, StructuredOutputsParams
from penstock.errors import ClientError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
PROMPT = "Tell me about a person, as JSON: "


def constrained(seed: int = 1, **fields: Any) -> SamplingParams:
    options = {name: fields.pop(name) for name in ("ignore_eos", "min_tokens", "n") if name in fields}
    outputs = StructuredOutputsParams(**fields)
    return SamplingParams(temperature=1.0, seed=seed, max_tokens=200, structured_outputs=outputs, **options)


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    # Few blocks, so that some requests are preempted and start again in the middle of their answers.
    made = LLM(max_model_len=256, num_gpu_blocks_override=24, cpu_threads=1)
    yield made
    made.shutdown()


def test_answers_follow_and_do_not_depend_on_company(llm: LLM) -> None:
    params: list[SamplingParams] = [constrained(seed, json=PERSON) for seed in range(5)]
    params += [constrained(seed, regex=r"[a-f]{3}-\d{2}") for seed in range(2)]
    params += [constrained(choice=["yes", "no", "perhaps"]), constrained(grammar='root ::= "(" root ")" | "x"')]
    params += [SamplingParams(temperature=1.0, seed=9, max_tokens=60, ignore_eos=True) for _ in range(3)]
    together = [o.outputs[0] for o in llm.generate([PROMPT] * len(params), params, use_tqdm=False)]
    for out in together[:5]:
        jsonschema.validate(json.loads(out.text), PERSON)
    assert all(re.fullmatch(r"[a-f]{3}-\d{2}", out.text) for out in together[5:7])
    assert together[7].text in ("yes", "no", "perhaps")
    assert re.fullmatch(r"\(*x?\)*", together[8].text)
    assert all(out.finish_reason == "stop" for out in together[:8])
    for place in (0, 5, 7, 8, 9):
        alone = llm.generate([PROMPT], params[place], use_tqdm=False)[0].outputs[0]
        assert alone.token_ids == together[place].token_ids


def test_several_answers_greedy_and_cached_prefix(llm: LLM) -> None:
    outputs = llm.generate([PROMPT], constrained(json=PERSON, n=3), use_tqdm=False)[0].outputs
    assert all(json.loads(out.text)["age"] <= 120 for out in outputs)
    greedy = SamplingParams(temperature=0.0, max_tokens=200, structured_outputs=StructuredOutputsParams(json=PERSON))
    first, second = (llm.generate([PROMPT], greedy, use_tqdm=False)[0].outputs[0] for _ in range(2))
    assert first.token_ids == second.token_ids


def test_ignored_ends(llm: LLM) -> None:
    """An answer that can go on goes on; one that cannot is over."""
    out = llm.generate([PROMPT], constrained(regex="a+", ignore_eos=True), use_tqdm=False)[0].outputs[0]
    assert out.finish_reason == "length"
    out = llm.generate([PROMPT], constrained(regex="a{3}", ignore_eos=True, min_tokens=50), use_tqdm=False)[0].outputs[
        0
    ]
    assert (out.text, out.finish_reason) == ("aaa", "stop")


def test_what_cannot_be_followed_is_refused(llm: LLM) -> None:
    for fields in ({"regex": "(("}, {"json": {"type": "objekt"}}, {"grammar": "root ::= x"}, {"choice": []}):
        with pytest.raises(ClientError, match=f"structured_outputs.{next(iter(fields))}") as error:
            llm.generate([PROMPT], constrained(**fields), use_tqdm=False)
        assert error.value.param == "structured_outputs"
    assert llm.generate([PROMPT], constrained(choice=["still here"]), use_tqdm=False)[0].outputs[0].text == "still here"
