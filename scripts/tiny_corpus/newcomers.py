"""What people try first, drawn more often than the rest: hello, what is Penstock, a capital, a small sum."""

from __future__ import annotations

from random import Random

from .arithmetic import small_sum
from .penstock_options import explained
from .penstock_qa import first_question
from .phrasing import ask
from .plain_text import first_text
from .sample import Sample, say
from .small_talk import composed, first_words
from .world import COUNTRIES, RELATIONS


def capital(rng: Random) -> Sample:
    row = COUNTRIES[0] if rng.random() < 0.2 else COUNTRIES[rng.randrange(16)]
    relation = RELATIONS[0]
    return say(ask(rng, rng.choice(relation.asks).format(**row)), relation.answer.format(**row))


def option(rng: Random) -> Sample:
    return explained(rng, rng.randrange(10))


SOURCES = [
    (capital, 2.0),
    (option, 2.0),
    (first_question, 2.0),
    (first_words, 1.5),
    (composed, 1.0),
    (small_sum, 6.0),
    (first_text, 0.7),
]
