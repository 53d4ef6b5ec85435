"""Constraints of a batch: their masks on logits, beside rows without; requests come and go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from structured_cases import allowed, compile_for

from penstock.errors import ClientError
from penstock.params import SamplingParams, StructuredOutputsParams, ThinkingParams
from penstock.sampling.history import RowHistory
from penstock.scheduler.plan import NewRow, StepPlan
from penstock.structured.base import CompiledGrammar, Grammar, GrammarEngine, GrammarError, MaskRow
from penstock.structured.manager import GrammarManager
from penstock.structured.masks import Constraints
from penstock.structured.spec import GrammarSpec
from penstock.structured.vocabulary import Vocabulary

CHOICE = StructuredOutputsParams(choice=["yes", "no"])
REGEX = StructuredOutputsParams(regex="[ab]{2}")


@pytest.fixture
def constraints(engine: GrammarEngine, vocabulary: Vocabulary) -> Iterator[Constraints]:
    constraints = Constraints(GrammarManager(lambda: engine), len(vocabulary))
    yield constraints
    constraints.close()


def new(request_id: str, outputs: StructuredOutputsParams | None, answer: Sequence[int] = (), **fields: Any) -> NewRow:
    return NewRow(request_id, [5, 6, *answer], 2, SamplingParams(structured_outputs=outputs, **fields))


def plan(*rows: NewRow, gone: Sequence[str] = ()) -> StepPlan:
    return StepPlan(1, list(gone), list(rows), [])


def kept(constraints: Constraints, request_ids: list[str], width: int) -> list[list[int]]:
    """The ids of each row that a step's masks leave."""
    logits_SV = torch.randn(len(request_ids), width, generator=torch.Generator().manual_seed(0))
    before = logits_SV.clone()
    nothing = np.zeros(len(request_ids), np.int64)
    history = RowHistory(np.zeros((8, 1), np.int32), nothing, nothing, nothing)
    for mask in constraints.masks(request_ids):
        mask.apply(logits_SV, history)
    finite = logits_SV.isfinite()
    assert torch.equal(logits_SV[finite], before[finite])
    return [row.nonzero().flatten().tolist() for row in finite]


def id_of(piece: bytes, vocabulary: Vocabulary) -> int:
    return list(vocabulary.pieces).index(piece)


def test_rows(constraints: Constraints, engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    width, a = len(vocabulary), id_of(b"a", vocabulary)
    constraints.apply(plan(new("free", None)))
    assert constraints.masks(["free"]) == []
    constraints.apply(plan(new("choice", CHOICE), new("regex", REGEX)))
    assert constraints.masks(["free"]) == []
    yes_no = allowed(compile_for(engine, choice=["yes", "no"]).start(), vocabulary)
    ab = allowed(compile_for(engine, regex="[ab]{2}").start(), vocabulary)
    assert kept(constraints, ["regex", "free", "choice"], width) == [ab, list(range(width)), yes_no]
    n = id_of(b"n", vocabulary)
    assert constraints.accept(["regex", "free", "choice"], np.array([a, 1, n])) == []
    assert constraints.accept(["choice", "regex"], np.array([-1, a])) == [1]
    constraints.apply(plan(gone=["regex", "free"]))
    assert kept(constraints, ["regex"], width) == [list(range(width))]
    o = id_of(b"o", vocabulary)
    assert kept(constraints, ["choice"], width) == [[o]]
    assert constraints.accept(["choice"], np.array([o])) == [0]


def test_back_from_a_preemption(constraints: Constraints, vocabulary: Vocabulary) -> None:
    width, a = len(vocabulary), id_of(b"a", vocabulary)
    constraints.apply(plan(new("one", REGEX), new("two", REGEX, [a]), new("bad", REGEX, [a, a, a])))
    constraints.accept(["one"], np.array([a]))
    one, two, bad = kept(constraints, ["one", "two", "bad"], width)
    assert one == two
    assert bad == []
    constraints.apply(plan(new("one", REGEX, [a]), gone=["one"]))
    assert kept(constraints, ["one"], width) == [two]


class Tired(Grammar):
    """Gives up after its first mask."""

    done = False
    _asked = 0

    def accept(self, token_ids: Sequence[int]) -> int:
        return len(token_ids)

    def rollback(self, count: int) -> None:
        pass

    def fill_mask(self, row: MaskRow) -> None:
        self._asked += 1
        if self._asked > 1:
            row.fill(-1)
            raise GrammarError("too costly")
        row.fill(1)


class TiredEngine(GrammarEngine, CompiledGrammar):
    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        return self

    def start(self) -> Grammar:
        return Tired()


def test_what_fails_on_the_way_allows_nothing(vocabulary: Vocabulary) -> None:
    """The sampler then ends that row, and no other."""
    constraints = Constraints(GrammarManager(TiredEngine), 70)
    constraints.apply(plan(new("one", REGEX), new("two", REGEX)))
    assert kept(constraints, ["one"], 70) == [[0, 32, 64]]
    assert kept(constraints, ["one", "free", "two"], 70) == [[], list(range(70)), [0, 32, 64]]
    assert kept(constraints, ["one"], 70) == [[]]
    constraints.close()


def test_what_cannot_be_compiled_allows_nothing(constraints: Constraints, vocabulary: Vocabulary) -> None:
    constraints.apply(
        plan(new("bad", StructuredOutputsParams(regex="(")), new("worse", StructuredOutputsParams(regex="")))
    )
    assert kept(constraints, ["bad", "worse"], len(vocabulary)) == [[], []]
    for regex, error in (("(", GrammarError), ("", ClientError)):
        with pytest.raises(error):
            constraints.prepare(SamplingParams(structured_outputs=StructuredOutputsParams(regex=regex))).result(10)


def test_thinking_and_ignored_ends(constraints: Constraints, vocabulary: Vocabulary) -> None:
    width, a, end = len(vocabulary), id_of(b"a", vocabulary), vocabulary.eos_ids[0]
    after = StructuredOutputsParams(regex="a{1,2}")
    thinks = ThinkingParams(opened=True, start=[], end=[9, 8], forced_end=[9, 8])
    params = {"ignore_eos": True, "eos_token_ids": list(vocabulary.eos_ids)}
    constraints.apply(
        plan(new("a", after, thinking=thinks), new("b", StructuredOutputsParams(regex="a{1,2}"), [a], **params))
    )
    everything, only_a = kept(constraints, ["a", "b"], width)
    assert everything == list(range(width))
    assert only_a == [a]
    constraints.accept(["a"], np.array([9]))
    constraints.accept(["a"], np.array([8]))
    first = kept(constraints, ["a"], width)[0]
    assert a in first
    assert end not in first


def test_a_budget_alone(constraints: Constraints, vocabulary: Vocabulary) -> None:
    """Nothing is compiled, and when the thinking is over nothing is masked any more."""
    thinks = ThinkingParams(opened=True, start=[], end=[9], forced_end=[9], budget=1)
    constraints.apply(plan(new("a", None, thinking=thinks)))
    assert kept(constraints, ["a"], len(vocabulary)) == [list(range(len(vocabulary)))]
    constraints.accept(["a"], np.array([50]))
    assert kept(constraints, ["a"], len(vocabulary)) == [[9]]
    constraints.accept(["a"], np.array([9]))
    assert constraints.masks(["a"]) == []


def test_compiled_ahead(constraints: Constraints) -> None:
    held = constraints.prepare(SamplingParams(structured_outputs=REGEX))
    assert held.result(10) is constraints.prepare(SamplingParams(structured_outputs=REGEX)).result(10)
