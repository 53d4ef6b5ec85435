"""A relation: rows of facts with many ways to ask for each, and the samples that follow from them.

A `Relation` turns into questions and answers, yes/no checks, one-word answers, plain sentences and Q/A text. The tables
themselves live in `world.py`, `nature.py`, `words.py`, `people.py` and `daily.py`.
"""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from .phrasing import ask, capitalise
from .sample import Sample, say

Row = dict[str, str]

BRIEF = [
    "{q} Answer with one word.", "{q} One word only.", "{q} Just the answer.", "{q} Reply with the answer only.",
    "Answer in one word: {q}", "In one word: {q}", "{q} Only the name, please.", "{q} Give only the answer.",
    "Answer briefly: {q}",
]
BRIEF_SYSTEM = [
    "Answer with one word.", "Answer in one word only.", "Give only the answer, without a sentence.", "Be as brief as possible.",
    "Reply with the answer only.", "You answer with a single word.", "Keep answers to one word.",
]
TEXT_QA = ["Question: {q}\nAnswer: {a}", "Q: {q}\nA: {a}", "{q}\n{a}", "User: {q}\nAssistant: {a}"]


def table(names: str, lines: str) -> list[Row]:
    """Rows of `a | b | c` lines under the given column names."""
    keys = names.split()
    rows = []
    for line in lines.strip().splitlines():
        cells = [c.strip() for c in line.split("|")]
        if len(cells) != len(keys):
            raise ValueError(f"{line!r} has {len(cells)} cells for columns {names!r}")
        rows.append(dict(zip(keys, cells, strict=True)))
    return rows


@dataclass(frozen=True)
class Relation:
    """`asks` and `answer` are templates over the row; `short` is the bare answer; `check` asks for yes or no."""

    asks: list[str]
    answer: str
    short: str
    rows: list[Row]
    check: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    weight: float = 1.0
    head: int = 0  # the first `head` rows are the well-known ones and come three times as often

    def row(self, rng: Random) -> Row:
        if self.head and rng.random() < 0.5:
            return self.rows[rng.randrange(self.head)]
        return rng.choice(self.rows)

    def pair(self, rng: Random) -> tuple[str, str, str]:
        """Question, full answer, bare answer."""
        row = self.row(rng)
        return rng.choice(self.asks).format(**row), fill(self.answer, row), self.short.format(**row)

    def sample(self, rng: Random) -> Sample:
        roll = rng.random()
        if roll < 0.13 and self.check:
            return self.yes_no(rng)
        question, answer, short = self.pair(rng)
        if roll < 0.16:
            return say(ask(rng, rng.choice(BRIEF).format(q=question), free=False), capitalise(short))
        if roll < 0.19:
            return say(ask(rng, question), capitalise(short), system=rng.choice(BRIEF_SYSTEM))
        if roll < 0.23:
            return Sample(text=rng.choice(TEXT_QA).format(q=question, a=answer))
        if roll < 0.32:
            template = rng.choice(self.texts) if self.texts else self.answer
            return Sample(text=fill(template, self.row(rng)))
        return say(ask(rng, question), answer)

    def yes_no(self, rng: Random) -> Sample:
        row = self.row(rng)
        truth = fill(self.answer, row)
        other = self.row(rng)
        claimed = self.short.format(**(row if rng.random() < 0.5 else other))
        same = claimed.lower() == self.short.format(**row).lower()
        question = rng.choice(self.check).format(**row, claim=claimed)
        return say(ask(rng, question), ("Yes. " if same else "No. ") + truth)


def fill(template: str, row: Row) -> str:
    return capitalise(template.format(**row))
