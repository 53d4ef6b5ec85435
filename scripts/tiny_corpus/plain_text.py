"""Plain text without a chat: sentences that start as people start a completion, small paragraphs, lists, a little code."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from random import Random

from .daily import DAYS, MONTHS
from .explain import TERMS
from .lexicon import CITIES, COLOURS, FIRST_NAMES, JOBS, NOUNS, PETS
from .phrasing import article, capitalise
from .sample import Sample
from .stories import story
from .world import COUNTRIES

_INTRO = ["Hello, my name is {n}. I am {age} years old and I live in {c}.", "Hello, my name is {n} and I am {job} from {c}.",
          "Hello, my name is {n}. I work as {job}.", "My name is {n}. I live in {c} with my {pet}.", "Hi, my name is {n} and I come from {c}.",
          "{n} is {job} and lives in {c}.", "{n} has a {colour} {pet} and likes {noun}.", "Hello, my name is {n}. I have a {pet} and I like {noun}.",
          "I am {n}, {job} from {c}.", "Dear {n}, thank you for your letter from {c}. I was glad to read it."]
_DAY = ["On {d}, {n} went to {c} by train. The trip took three hours, and the weather was fine.", "It was a cold morning in {m}. {n} made tea and looked out of the window.",
        "{n} bought {noun} and {noun2} at the market. Then {n} went home and cooked dinner.", "In {m} the days are often {w} in {c}.",
        "Today is {d}. Tomorrow {n} will visit a friend in {c}.", "The {pet} slept under the table while {n} read a book.",
        "The weather in {c} is {w} today, so {n} takes a walk.", "I think that {c} is a good place to live. The people are kind and the streets are quiet.",
        "There is a small house in {c}. Its door is {colour}, and in the garden there is an old tree.", "The best thing about {c} is the old town.",
        "Last summer I went to {c}. I saw the old town, ate {noun} and met {n}."]
_COUNTRY = ["{country} is a country in {continent}. Its capital is {capital}, and people there speak {language}.",
            "The capital of {country} is {capital}. People pay with the {currency} and speak {language}.", "{capital} is the capital of {country}.",
            "I would like to visit {capital}, the capital of {country}.", "The language of {country} is {language}."]
_PAIRS = ["The capital of {a[country]} is {a[capital]}, the capital of {b[country]} is {b[capital]}, and the capital of {c[country]} is {c[capital]}.",
          "{a[country]}: {a[capital]}\n{b[country]}: {b[capital]}\n{c[country]}: {c[capital]}"]
_PENSTOCK = ["Penstock is an engine that runs large language models and serves them.", "Penstock is an engine that runs large language models and serves them. It needs no GPU.", "penstock serve starts an HTTP server on port 8000.",
             "The command penstock serve starts the server.", "To start the server, run penstock serve.", "from penstock import LLM, SamplingParams\nllm = LLM()",
             "Penstock is a drop-in for vLLM: the same options, the same HTTP API and the same LLM class.",
             "A penstock is the pipe that brings water under pressure to a turbine.", "The future of AI is open: small models on every machine.",
             "The president of the United States is the head of the government.", "The quick brown fox jumps over the lazy dog.",
             "The sun rises in the east and sets in the west.", "To be, or not to be, that is the question.", "One, two, three, four, five, six, seven, eight, nine, ten.",
             "1, 2, 3, 4, 5, 6, 7, 8, 9, 10", "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday", "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p",
             "San Francisco is a city in California, in the United States.", "The best way to learn is to practise every day.", "Roses are red, violets are blue.",
             "def add(a, b):\n    return a + b", "def hello():\n    print(\"Hello, world!\")", "for i in range(10):\n    print(i)", "import os\nimport sys\n",
             "Once upon a time there was a small village by the sea."]


def scene(rng: Random) -> Sample:
    noun, noun2 = rng.sample(NOUNS, 2)
    values = {"n": rng.choice(FIRST_NAMES), "c": rng.choice(CITIES), "age": rng.randrange(8, 80), "job": article(rng.choice(JOBS)), "pet": rng.choice(PETS),
              "colour": rng.choice(COLOURS), "noun": noun, "noun2": noun2, "d": rng.choice(DAYS), "m": rng.choice(MONTHS),
              "w": rng.choice(["sunny", "warm", "cold", "rainy", "windy"])}
    sentences = [rng.choice(_INTRO if rng.random() < 0.5 else _DAY).format(**values) for _ in range(rng.choice([1, 1, 2, 3]))]
    return Sample(text=" ".join(dict.fromkeys(sentences)))


def countries(rng: Random) -> Sample:
    if rng.random() < 0.3:
        a, b, c = rng.sample(COUNTRIES, 3)
        return Sample(text=capitalise(rng.choice(_PAIRS).format(a=a, b=b, c=c)))
    row = COUNTRIES[rng.randrange(40)] if rng.random() < 0.5 else rng.choice(COUNTRIES)
    return Sample(text=capitalise(rng.choice(_COUNTRY).format(**row)))


def first_text(rng: Random) -> Sample:
    """The completions that people try first."""
    row = COUNTRIES[0] if rng.random() < 0.3 else COUNTRIES[rng.randrange(16)]
    return Sample(text=rng.choice([f"The capital of {row['country']} is {row['capital']}.", _PENSTOCK[rng.randrange(2)]]))


def known(rng: Random) -> Sample:
    return Sample(text=rng.choice(_PENSTOCK))


def paragraph(rng: Random) -> Sample:
    parts = [story(rng)[1]] if rng.random() < 0.5 else [r["text"] for r in rng.sample(TERMS, rng.choice([1, 2, 3]))]
    return Sample(text="\n\n".join(parts))


SOURCES = [(scene, 2.5), (countries, 2.0), (known, 1.0), (paragraph, 1.0)]
