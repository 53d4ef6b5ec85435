"""Questions about Penstock itself: commands, routes, the Python class, determinism, errors; each in several wordings."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path
from random import Random

from .phrasing import ask
from .relations import TEXT_QA
from .sample import Sample, say


def parse(blocks: str) -> list[tuple[list[str], str]]:
    """Blocks of wordings, one per line, and a last line "= answer" in which \\n is a line break."""
    parsed = []
    for block in blocks.strip().split("\n\n"):
        *asks, answer = block.strip().splitlines()
        if not answer.startswith("= ") or not asks:
            raise ValueError(f"block without an answer: {block[:60]!r}")
        parsed.append((asks, answer[2:].replace("\\n", "\n")))
    return parsed


QUESTIONS = parse((Path(__file__).parent / "penstock_questions.txt").read_text(encoding="utf-8"))


def first_question(rng: Random) -> Sample:
    asks, answer = QUESTIONS[rng.choice([0, 0, 2, 2, 3])]
    return say(ask(rng, rng.choice(asks)), answer)


def about_penstock(rng: Random) -> Sample:
    asks, answer = rng.choice(QUESTIONS)
    question = rng.choice(asks)
    if rng.random() < 0.06:
        return Sample(text=rng.choice(TEXT_QA).format(q=question, a=answer))
    if rng.random() < 0.04:
        return Sample(text=answer.replace("\n", " "))
    return say(ask(rng, question), answer)


SOURCES = [(about_penstock, 9.0)]
