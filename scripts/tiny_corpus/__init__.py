"""The corpus of the bundled model: everything it learns, written or generated here, nothing downloaded.

`sample(rng)` draws one training example; the same random state gives the same example. Each module holds one kind of
knowledge or skill as `RELATIONS` (tables of facts) or `SOURCES` (functions with weights); this file only mixes them.
"""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from random import Random

from . import (
    arithmetic,
    daily,
    explain,
    instructions,
    json_answers,
    nature,
    newcomers,
    penstock_options,
    penstock_qa,
    people,
    plain_text,
    small_talk,
    stories,
    tools,
    words,
    world,
)
from .relations import Relation
from .sample import Message, Sample

Source = Callable[[Random], Sample]

FACTS: list[tuple[Relation, float]] = [(r, r.weight) for m in (world, nature, words, people, daily) for r in m.RELATIONS]
_FACT_LINE = list(accumulate(w for _, w in FACTS))

# share of the samples, module
_SHARES: list[tuple[float, list[tuple[Source, float]]]] = [
    (15.0, newcomers.SOURCES), (16.0, penstock_qa.SOURCES + penstock_options.SOURCES), (8.0, small_talk.SOURCES), (14.0, arithmetic.SOURCES), (6.0, tools.SOURCES),
    (9.0, json_answers.SOURCES), (18.0, instructions.SOURCES), (7.0, words.SOURCES), (4.0, daily.SOURCES), (5.0, explain.SOURCES),
    (2.0, stories.SOURCES), (3.0, plain_text.SOURCES),
]
_FACT_SHARE = 27.0
_CHAIN = [penstock_qa.SOURCES, small_talk.SOURCES, arithmetic.SOURCES, daily.SOURCES, words.SOURCES, penstock_options.SOURCES, explain.SOURCES]


def sample(rng: Random) -> Sample:
    """One training example."""
    drawn = _draw(rng)
    if not _simple(drawn):
        return drawn
    roll = rng.random()
    if roll < 0.05:
        return Sample([{"role": "system", "content": instructions.neutral_system(rng)}, *drawn.messages])
    if roll < 0.10:
        return Sample(_with_reasoning(rng, drawn.messages), thinking=True)
    if roll < 0.19:
        return _chained(rng, drawn)
    return drawn


def any_fact(rng: Random) -> tuple[str, str]:
    """A question from the tables with its answer."""
    question, answer, _ = _relation(rng).pair(rng)
    return question, answer


def sources() -> Iterator[Source]:
    """Every source function, for tests that look at each."""
    for _, members in _SHARES:
        for source, _ in members:
            yield source


def _draw(rng: Random) -> Sample:
    point = rng.random() * (_FACT_SHARE + sum(share for share, _ in _SHARES))
    if point < _FACT_SHARE:
        return _relation(rng).sample(rng)
    point -= _FACT_SHARE
    for share, members in _SHARES:
        if point < share:
            return _member(rng, members)
        point -= share
    return _member(rng, _SHARES[-1][1])


def _relation(rng: Random) -> Relation:
    return rng.choices(FACTS, cum_weights=_FACT_LINE)[0][0]


def _member(rng: Random, members: list[tuple[Source, float]]) -> Sample:
    return rng.choices([s for s, _ in members], weights=[w for _, w in members])[0](rng)


def _simple(drawn: Sample) -> bool:
    """One question, one answer, nothing else."""
    return len(drawn.messages) == 2 and not drawn.tools and not drawn.thinking


_REASONS = ["The user asks something that I know. I answer it directly.", "This is a simple question. I can answer it.",
            "I know this, so I can answer at once.", "Let me answer this directly."]


def _with_reasoning(rng: Random, messages: list[Message]) -> list[Message]:
    return [*messages[:-1], messages[-1] | {"reasoning_content": rng.choice(_REASONS)}]


def _chained(rng: Random, drawn: Sample) -> Sample:
    """The sample at the end of a longer chat about other things."""
    earlier: list[Message] = []
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 4])):
        other = _relation(rng).sample(rng) if rng.random() < 0.5 else _member(rng, rng.choice(_CHAIN))
        if _simple(other):
            earlier += other.messages
    return Sample([*earlier, *drawn.messages])
