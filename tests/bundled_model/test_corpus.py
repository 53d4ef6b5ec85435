"""The corpus of the bundled model: repeatable, in step with the template, without the questions of the evaluation."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from random import Random

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import eval_tiny  # noqa: E402
import tiny_corpus  # noqa: E402
from tiny_corpus.arithmetic import held_out  # noqa: E402
from tiny_corpus.penstock_options import OPTIONS, REFUSED  # noqa: E402
from tiny_training.batches import Stream, chat_renderer, gather, rendered  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

from penstock.config import cli_help, compat  # noqa: E402
from penstock.config.cli import make_arg_parser  # noqa: E402
from penstock.config.options import options_of  # noqa: E402
from penstock.config.sections import EngineArgs, ServerArgs  # noqa: E402

ASSETS = ROOT / "penstock" / "assets" / "tiny"
DECLARED = {option.flag: option for args in (EngineArgs, ServerArgs) for option in options_of(args)}


@pytest.fixture(scope="module")
def items() -> list[dict]:
    return [json.loads(line) for line in eval_tiny.QUESTIONS.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("source", list(tiny_corpus.sources()), ids=lambda s: s.__name__)
def test_every_source_gives_prompts_that_the_template_continues(source) -> None:
    render, rng = chat_renderer(ASSETS / "chat_template.jinja"), Random(0)
    for _ in range(50):
        given, learned = rendered(source(rng), render)
        assert learned.endswith(("<|im_end|>", "<|endoftext|>"))
        assert not given or given.startswith("<|im_start|>")


def test_the_same_seed_gives_the_same_samples() -> None:
    first, second = (Random(7), Random(7))
    assert [tiny_corpus.sample(first) for _ in range(200)] == [tiny_corpus.sample(second) for _ in range(200)]


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row["flag"])
def test_options_are_those_of_this_version(row) -> None:
    assert row["flag"] in make_arg_parser()._option_string_actions
    assert [r for r in compat.TABLE.values() if r.flag == row["flag"] and r.verdict == "refused"] == []
    option = DECLARED.get(row["flag"])
    if option is not None and option.default is not None:
        assert row["default"] == cli_help.default_text(option.default).removesuffix(".0")


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row["flag"])
def test_refused_options_are_refused_for_that_reason(row) -> None:
    refused = compat.TABLE[row["flag"][2:].replace("-", "_")]
    assert (refused.verdict, refused.why) == ("refused", row["why"])


def test_questions_are_not_in_the_corpus(items) -> None:
    assert eval_tiny.seen_in_corpus(items, 20_000) == []


def test_held_out_sums_never_occur() -> None:
    rng = Random(3)
    for source in (s for s in tiny_corpus.sources() if s.__module__.endswith(("arithmetic", "newcomers"))):
        for _ in range(500):
            sample = source(rng)
            answer = sample.messages[-1]["content"] if sample.messages else sample.text
            sums = re.findall(r"^(\d+) ([+-]) (\d+) =", answer)
            assert not any(held_out(int(a), op, int(b)) for a, op, b in sums), sample


def test_a_batch_learns_only_answers() -> None:
    tokenizer = Tokenizer.from_file(str(ASSETS / "tokenizer.json"))
    render = chat_renderer(ASSETS / "chat_template.jinja")
    stream = Stream(tiny_corpus.sample, render, tokenizer, 2000, 1, frozenset())
    rows = list(stream.rows(Random("1/0")))
    batch = gather(rows)
    assert len(batch.targets) == sum(sum(row.mask[1:]) for row in rows)
    assert all(row.mask[-1] for row in rows)
    assert sum(g.rows for g in batch.groups) == len(rows)
    same = batch.ids[batch.picked + 1] == batch.targets
    assert bool(same.all())


def test_every_question_has_a_check_that_can_fail(items) -> None:
    assert len(items) >= 150
    assert len({i["id"] for i in items}) == len(items)
    assert not [i["id"] for i in items if eval_tiny.right(i, "")]
