"""Following an answer: rollback, thinking first, forbidden ends; the mask is a function of the answer alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from structured_cases import INT, TEXT, allowed, compile_for, obj, walk

from penstock.config.engine_config import StructuredConfig
from penstock.params import ThinkingParams
from penstock.structured.backends import make_engine
from penstock.structured.base import GrammarEngine
from penstock.structured.constraint import Constraint
from penstock.structured.thinking import Thinking
from penstock.structured.vocabulary import Vocabulary

SCHEMA = obj({"a": TEXT, "b": {"type": "array", "items": INT, "maxItems": 3}})
END = [7, 7, 9]  # a made-up end of thinking


def check_rollback(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    compiled = compile_for(engine, json=SCHEMA)
    ids = walk(compiled, vocabulary, 5)
    grammar, masks = compiled.start(), []
    for token_id in ids:
        masks.append(allowed(grammar, vocabulary))
        assert grammar.accept([token_id]) == 1
    assert grammar.done
    for count in (1, 3, len(ids)):
        grammar.rollback(count)
        assert not grammar.done
        assert allowed(grammar, vocabulary) == masks[len(ids) - count]
        assert grammar.accept(ids[len(ids) - count :]) == count
        assert grammar.done


def test_rollback(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    check_rollback(engine, vocabulary)


def test_rollback_with_xgrammar(xgrammar: GrammarEngine, vocabulary: Vocabulary) -> None:
    check_rollback(xgrammar, vocabulary)


def test_what_is_not_allowed_is_not_taken(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    """As a check of drafts needs it: the good part is taken, and the place is as after it alone."""
    compiled = compile_for(engine, json=SCHEMA)
    ids = walk(compiled, vocabulary, 6)
    grammar, alone = compiled.start(), compiled.start()
    wrong = next(i for i in range(len(vocabulary)) if i not in allowed(alone, vocabulary))
    assert grammar.accept([wrong]) == 0
    assert grammar.accept([*ids[:4], wrong, *ids[4:]]) == 4
    assert alone.accept(ids[:4]) == 4
    assert allowed(grammar, vocabulary) == allowed(alone, vocabulary)


def test_answers_do_not_share_a_place(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    compiled = compile_for(engine, json=SCHEMA)
    first, second = compiled.start(), compiled.start()
    before = allowed(second, vocabulary)
    first.accept(walk(compiled, vocabulary, 1))
    assert allowed(second, vocabulary) == before


def thinking(opened: bool = True, start: Sequence[int] = (), budget: int | None = None) -> Thinking:
    return Thinking(ThinkingParams(opened=opened, start=list(start), end=END, forced_end=[5, *END], budget=budget))


def test_thinking_comes_first(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    compiled = compile_for(engine, regex="[ab]{3}")
    begin = allowed(compiled.start(), vocabulary)
    constraint = Constraint(compiled.start(), thinking(), end_ids=vocabulary.eos_ids)
    anything = set(range(len(vocabulary))) - set(vocabulary.eos_ids)
    assert set(range(len(vocabulary))).intersection(allowed(constraint, vocabulary)) == anything
    assert constraint.accept([7, 9, 7, 7, 7]) == 5
    assert set(allowed(constraint, vocabulary)) >= anything
    assert constraint.accept([9, begin[0]]) == 2
    assert allowed(constraint, vocabulary) != begin
    constraint.rollback(1)
    assert allowed(constraint, vocabulary) == begin
    constraint.rollback(1)
    assert set(allowed(constraint, vocabulary)) >= anything
    assert constraint.accept([9]) == 1
    assert allowed(constraint, vocabulary) == begin
    assert not constraint.done


def test_an_answer_may_think_or_not(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    """Where only its first token tells, it begins with the reasoning or follows the grammar at once."""
    compiled = compile_for(engine, regex="[ab]{3}")
    begin = allowed(compiled.start(), vocabulary)
    constraint = Constraint(compiled.start(), thinking(opened=False, start=[3, 4]))
    assert allowed(constraint, vocabulary) == sorted([3, *begin])
    assert constraint.accept([begin[0]]) == 1
    after = allowed(constraint, vocabulary)
    assert 3 not in after
    constraint.rollback(1)
    assert allowed(constraint, vocabulary) == sorted([3, *begin])
    constraint.accept([3])
    assert allowed(constraint, vocabulary) == [4]
    constraint.accept([4, 100, *END])
    assert allowed(constraint, vocabulary) == begin
    constraint.accept([begin[0]])
    assert allowed(constraint, vocabulary) == after


@pytest.mark.parametrize("opened", [True, False])
def test_a_budget_ends_the_thinking(opened: bool, vocabulary: Vocabulary) -> None:
    start = [] if opened else [3, 4]
    constraint = Constraint(None, thinking(opened, start, budget=2))
    constraint.accept([*start, 50])
    assert len(allowed(constraint, vocabulary)) >= len(vocabulary)
    constraint.accept([50])
    forced = []
    while not constraint.idle:
        (token_id,) = allowed(constraint, vocabulary)
        forced.append(token_id)
        constraint.accept([token_id])
    assert forced == [5, *END]
    without = Constraint(None, thinking(opened=False, start=[3], budget=0))
    without.accept([50])
    assert without.idle


def test_ids_that_never_come(engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    """ignore_eos: the end is forbidden while the grammar can go on, and all there is where it cannot."""
    end = vocabulary.eos_ids[0]
    a = next(i for i, piece in enumerate(vocabulary.pieces) if piece == b"a")
    constraint = Constraint(compile_for(engine, regex="a{1,2}").start(), never_ids=vocabulary.eos_ids)
    constraint.accept([a])
    assert allowed(constraint, vocabulary) == [a]
    assert not constraint.done
    constraint.accept([a])
    assert allowed(constraint, vocabulary) == [end]
    assert constraint.done


def test_several_ends(byte_vocabulary: Vocabulary) -> None:
    vocabulary = Vocabulary([*byte_vocabulary.pieces, b"", b""], [256, 258])
    compiled = compile_for(make_engine(StructuredConfig(), vocabulary), regex="a*")
    assert allowed(compiled.start(), vocabulary) == [ord("a"), 256, 258]
    for end in vocabulary.eos_ids:
        grammar = compiled.start()
        assert grammar.accept([end]) == 1
        assert grammar.done


@pytest.mark.parametrize("seed", range(3))
def test_replaying_gives_the_same_masks(seed: int, engine: GrammarEngine, vocabulary: Vocabulary) -> None:
    """As after a preemption, whatever else the engine did meanwhile."""
    compiled = compile_for(engine, json=SCHEMA)
    ids = walk(compiled, vocabulary, seed)
    grammar = compiled.start()
    for count in range(len(ids)):
        mask = allowed(grammar, vocabulary)
        if count % 5 == 0:
            again = compile_for(engine, json=json.dumps(SCHEMA)).start()
            assert again.accept(ids[:count]) == count
            assert allowed(again, vocabulary) == mask
        grammar.accept(ids[count : count + 1])
