"""Prompts of the datasets: counts, lengths, repeatability, and what is said about bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.benchmarks.bench_tokenizer import load_tokenizer
from penstock.benchmarks.datasets import DatasetOptions, sample
from penstock.errors import StartError


class WordTokenizer:
    """Token i is the word "wI"; merges nothing, so every length can be met. Token 0 is special: it has no text."""

    vocab_size = 50

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [int(w[1:]) for w in text.split()]

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return " ".join(f"w{i}" for i in ids if i)


class PairTokenizer(WordTokenizer):
    """Writes two neighbours w1 w1 as one token, 49: decoding and encoding again changes the length."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return super().encode(text.replace("w1 w1", "w49"))

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        return super().decode(ids).replace("w49", "w1 w1")


def options(**changes: Any) -> DatasetOptions:
    return DatasetOptions(**{"num_prompts": 20, "output_len": 8, "input_len": 16, **changes})


def test_random_prompts_have_the_length_asked_for() -> None:
    requests = sample(options(prefix_len=5), WordTokenizer())
    assert len(requests) == 20
    assert {len(r.prompt.split()) for r in requests} == {21} == {r.prompt_len for r in requests}
    assert {r.output_len for r in requests} == {8}
    assert len({" ".join(r.prompt.split()[:5]) for r in requests}) == 1  # the prefix is shared
    assert len({r.prompt for r in requests}) == 20
    assert not any("w0 " in r.prompt for r in requests)


def test_random_prompts_depend_on_the_seed_alone() -> None:
    tokenizer = WordTokenizer()
    assert sample(options(seed=3), tokenizer) == sample(options(seed=3), tokenizer)
    assert sample(options(seed=3), tokenizer) != sample(options(seed=4), tokenizer)


def test_random_lengths_vary_within_the_ratio() -> None:
    requests = sample(options(num_prompts=400, input_len=100, output_len=50, range_ratio=0.1), WordTokenizer())
    assert {min(r.prompt_len for r in requests), max(r.prompt_len for r in requests)} == {90, 110}
    assert {min(r.output_len for r in requests), max(r.output_len for r in requests)} == {45, 55}
    with pytest.raises(StartError, match="range-ratio"):
        sample(options(range_ratio=1.0), WordTokenizer())


def test_lengths_are_met_where_tokens_merge() -> None:
    tokenizer = PairTokenizer()
    for r in sample(options(num_prompts=200, input_len=64), tokenizer):
        assert len(tokenizer.encode(r.prompt)) == r.prompt_len
        assert abs(r.prompt_len - 64) <= 1


def test_lengths_are_exact_with_a_real_tokenizer(bundled_model: Path) -> None:
    tokenizer = load_tokenizer(str(bundled_model))
    requests = sample(options(num_prompts=50, input_len=40, prefix_len=10), tokenizer)
    assert {len(tokenizer.encode(r.prompt)) for r in requests} == {50} == {r.prompt_len for r in requests}


class BosTokenizer(WordTokenizer):
    """Puts a token before every text, as many models want it."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [0] * add_special_tokens + super().encode(text)


def test_tokens_that_the_tokenizer_adds_count() -> None:
    requests = sample(options(), BosTokenizer())
    assert {r.prompt_len for r in requests} == {16}
    assert {len(r.prompt.split()) for r in requests} == {15}


def test_prefix_repetition_shares_prefixes() -> None:
    requests = sample(
        options(name="prefix_repetition", num_prefixes=4, prefix_len=6, suffix_len=3, output_len=5), WordTokenizer()
    )
    assert len(requests) == 20
    assert len({" ".join(r.prompt.split()[:6]) for r in requests}) == 4
    assert {r.prompt_len for r in requests} == {9}
    with pytest.raises(StartError, match="num-prefixes"):
        sample(options(name="prefix_repetition", num_prefixes=21), WordTokenizer())


def sharegpt_file(folder: Path, *turns: tuple[int, int]) -> str:
    """A ShareGPT file with conversations of these lengths (prompt, answer), in tokens."""
    word = " ".join
    talks = [
        {"conversations": [{"from": "human", "value": word(["w2"] * a)}, {"from": "gpt", "value": word(["w3"] * b)}]}
        for a, b in turns
    ]
    path = folder / "talks.json"
    path.write_text(json.dumps([*talks, {"conversations": [{"value": "w2"}]}]))
    return str(path)


def test_sharegpt_takes_the_first_turn_of_fitting_conversations(tmp_path: Path) -> None:
    path = sharegpt_file(tmp_path, (10, 20), (3, 20), (10, 3), (1025, 20), (1000, 1049), (30, 7))
    requests = sample(options(name="sharegpt", path=path, output_len=None, oversample=False), WordTokenizer())
    assert sorted((r.prompt_len, r.output_len) for r in requests) == [(10, 20), (30, 7)]
    fixed = sample(options(name="sharegpt", path=path, output_len=9, num_prompts=7), WordTokenizer())
    assert len(fixed) == 7  # short of conversations: some come twice
    assert {r.output_len for r in fixed} == {9}


def test_sharegpt_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^dataset sharegpt needs --dataset-path"):
        sample(options(name="sharegpt", path=None), WordTokenizer())
    (tmp_path / "x").write_text("[5]")
    with pytest.raises(StartError, match="ShareGPT"):
        sample(options(name="sharegpt", path=str(tmp_path / "x")), WordTokenizer())


def test_custom_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"prompt": "w1 w2", "output_tokens": 3}\n\n{"prompt": "w5", "output_tokens": 4}\n')
    own = sample(
        options(name="custom", path=str(path), output_len=-1, oversample=False, shuffle=False), WordTokenizer()
    )
    assert [(r.prompt, r.prompt_len, r.output_len) for r in own] == [("w1 w2", 2, 3), ("w5", 1, 4)]
    wrapped = sample(
        options(name="custom", path=str(path), num_prompts=1, shuffle=False, apply_chat=lambda t: f"w9 {t} w9"), None
    )
    assert [(r.prompt, r.prompt_len, r.output_len) for r in wrapped] == [("w9 w1 w2 w9", 0, 8)]


@pytest.mark.parametrize("line", ["[1]", "no json", '{"text": "x"}'])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"prompt": "w1"}\n' + line)
    with pytest.raises(StartError, match=r"lines.jsonl:2 is not a JSON object"):
        sample(options(name="custom", path=str(path)), WordTokenizer())


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"supported: random, sharegpt, custom, prefix_repetition"):
        sample(options(name="sonnet"), WordTokenizer())
    with pytest.raises(StartError, match="needs --dataset-path"):
        sample(options(name="sharegpt"), WordTokenizer())
    with pytest.raises(StartError, match="cannot read"):
        sample(options(name="custom", path=str(tmp_path / "none")), WordTokenizer())
    with pytest.raises(StartError, match="needs a tokenizer"):
        sample(options(), None)
    (tmp_path / "bad.json").write_text('{"a": 1}')
    with pytest.raises(StartError, match="not a ShareGPT"):
        sample(options(name="sharegpt", path=str(tmp_path / "bad.json")), WordTokenizer())
