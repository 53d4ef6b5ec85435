"""JSON answers: facts taken from a sentence into given keys, small objects, lists, schemas; and labels for texts."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

import json
from random import Random
from typing import Any

from .lexicon import CITIES, COLOURS, FIRST_NAMES, JOBS, LAST_NAMES, NOUNS, PETS, invented_word
from .phrasing import article, pick
from .sample import Sample, say

_SENTENCES: list[tuple[str, list[str]]] = [
    ("{name} is {age} years old and lives in {city}.", ["name", "age", "city"]),
    ("{name}, {age}, lives in {city}.", ["name", "age", "city"]),
    ("My name is {name}, I am {age} and I come from {city}.", ["name", "age", "city"]),
    ("I am {name} from {city}.", ["name", "city"]),
    ("{name} is {age} years old.", ["name", "age"]),
    ("{name} turned {age} last week.", ["name", "age"]),
    ("{name} works as {a_job} in {city}.", ["name", "job", "city"]),
    ("{name} is {a_job} and {age} years old.", ["name", "job", "age"]),
    ("{name} has a {colour} {pet}.", ["name", "colour", "pet"]),
    ("The {colour} {pet} belongs to {name}.", ["name", "colour", "pet"]),
    ("{name} bought {count} {noun} for {price} euros.", ["name", "count", "item", "price"]),
    ("The order of {name}: {count} {noun}, {price} euros.", ["name", "count", "item", "price"]),
    ("{name} lives in {city} and has a {pet}.", ["name", "city", "pet"]),
    ("In {city}, {name} works as {a_job}.", ["name", "job", "city"]),
    ("{name} was born in {year} in {city}.", ["name", "year", "city"]),
    ("{name} moved to {city} in {year}.", ["name", "year", "city"]),
    ("Please meet {name}, our new {job} from {city}.", ["name", "job", "city"]),
    ("The meeting with {name} is in {city} in {year}.", ["name", "year", "city"]),
    ("{name} ({age}) is {a_job}.", ["name", "age", "job"]),
]
_ASKS = [
    "Extract {keys} as JSON: {text}", "Answer in JSON with the keys {keys}. {text}", "{text} Give {keys} as JSON.",
    "{text}\nReturn a JSON object with {keys}.", "Read this: {text} Answer in JSON with keys {keys}.", "JSON with {keys}: {text}",
    "Extract the {keys} from this text and answer in JSON.\n{text}", "Turn this into JSON with the fields {keys}: {text}",
    "{text} Write JSON with the keys {keys}.", "Get {keys} from the text as a JSON object. Text: {text}",
    'Convert to JSON ({keys}): "{text}"', "Which {keys} are in this text? Answer in JSON. {text}",
    "Fill in {keys} as JSON from: {text}",
]
_SYSTEMS = ["Answer in JSON with the keys {keys}.", "You extract data. Reply with a JSON object with {keys}.",
            "Reply only with JSON. Keys: {keys}.", "Extract {keys} from what the user writes, as JSON."]
INTEGERS = {"age", "count", "price", "year"}


def facts(rng: Random) -> dict[str, Any]:
    name = rng.choice(FIRST_NAMES) if rng.random() < 0.85 else invented_word(rng).capitalize()
    if rng.random() < 0.35:
        name += f" {rng.choice(LAST_NAMES)}"
    job, noun = rng.choice(JOBS), rng.choice(NOUNS)
    return {"name": name, "age": rng.randrange(3, 99), "city": rng.choice(CITIES) if rng.random() < 0.85 else invented_word(rng).capitalize(),
            "job": job, "a_job": article(job), "colour": rng.choice(COLOURS), "pet": rng.choice(PETS), "count": rng.randrange(2, 60),
            "noun": noun, "item": noun, "price": rng.randrange(2, 200), "year": rng.randrange(1900, 2030)}


def key_list(rng: Random, keys: list[str]) -> str:
    if rng.random() < 0.25:
        return ", ".join(f'"{k}"' for k in keys)
    if rng.random() < 0.5 or len(keys) == 1:
        return ", ".join(keys)
    return ", ".join(keys[:-1]) + f" and {keys[-1]}"


def extract(rng: Random) -> Sample:
    template, keys = rng.choice(_SENTENCES)
    values = facts(rng)
    text = template.format(**values)
    keys = rng.sample(keys, rng.randrange(1, len(keys) + 1)) if rng.random() < 0.4 else list(keys)
    answer = json.dumps({k: values[k] for k in keys}, ensure_ascii=False)
    roll = rng.random()
    if roll < 0.2:
        return say(text, answer, system=pick(rng, _SYSTEMS, keys=key_list(rng, keys)))
    if roll < 0.38:
        return say(f"{text}\n{schema_prompt(rng, keys)}", answer)
    return say(pick(rng, _ASKS, keys=key_list(rng, keys), text=text), answer)


def schema_prompt(rng: Random, keys: list[str]) -> str:
    properties = {k: {"type": "integer" if k in INTEGERS else "string"} for k in keys}
    schema = {"type": "object", "properties": properties, "required": keys}
    return pick(rng, ["Answer with JSON that fits this schema: ", "JSON schema: ", "Use this JSON schema: ", "Follow the schema "]) + json.dumps(schema)


def question(rng: Random) -> Sample:
    """The same sentences, asked about in plain words."""
    template, keys = rng.choice(_SENTENCES)
    values = facts(rng)
    key = rng.choice(keys)
    forms = {"name": ["What is the name in the text?", "Which person is named?"], "age": ["What is the age in the text?", "Which age is given?"],
             "city": ["Which city is named?", "What city is in the text?"], "job": ["Which job is named?", "What is the job?"],
             "colour": ["Which colour is named?", "What is the colour?"], "pet": ["Which animal is named?", "What animal is it?"],
             "count": ["How many {noun} are there?"], "item": ["What was bought?"], "price": ["What is the price?"],
             "year": ["Which year is named?", "What is the year?"]}
    asked = rng.choice(forms[key]).format(**values)
    return say(pick(rng, ["{t} {q}", "Text: {t}\nQuestion: {q}", "{t}\n{q}", "Read: {t} {q}"], t=template.format(**values), q=asked), f"{values[key]}")


def make_object(rng: Random) -> Sample:
    """An invented object with given keys, as structured-output demos ask for it."""
    values = facts(rng)
    keys = rng.sample(["name", "age", "city", "job", "colour", "pet", "year"], rng.randrange(2, 5))
    answer = json.dumps({k: values[k] for k in keys})
    listed = key_list(rng, keys)
    roll = rng.random()
    if roll < 0.35:
        return say("Describe a person. " + schema_prompt(rng, keys), answer)
    return say(pick(rng, ["Give me a JSON object with {k}.", "Make up a person as JSON with {k}.", "Write a JSON object with the keys {k}.",
                          "Invent a person: JSON with {k}.", "Generate JSON for a user with {k}.", "I need sample JSON with {k}.",
                          "Describe a person in JSON with {k}.", "Generate a JSON with {k}."], k=listed), answer)


def json_list(rng: Random) -> Sample:
    items = rng.sample(rng.choice([NOUNS[:30], COLOURS, PETS, FIRST_NAMES, CITIES]), rng.randrange(2, 6))
    text = ", ".join(items[:-1]) + f" and {items[-1]}"
    return say(pick(rng, ["Write this as a JSON list: {t}", "Turn {t} into a JSON array.", "Make a JSON list of {t}.", "JSON array of {t}?"], t=text),
               json.dumps(items))


_GOOD = ["I love this {n}!", "The {n} is great.", "What a wonderful {n}.", "I am very happy with the {n}.", "The {n} works well.", "Best {n} ever!",
         "A fantastic {n}, I like it a lot.", "I enjoyed the {n} very much.", "The {n} was excellent.", "Really good {n}, thank you."]
_BAD = ["I hate this {n}.", "The {n} is terrible.", "What an awful {n}.", "I am very unhappy with the {n}.", "The {n} broke after one day.",
        "Worst {n} ever!", "A bad {n}, I do not like it.", "I did not enjoy the {n} at all.", "The {n} was a waste of money.", "Very poor {n}, never again."]
_RATED = ["film", "movie", "book", "hotel", "phone", "restaurant", "service", "product", "food", "game", "song", "room", "car", "coffee", "trip"]
_JUDGE = ["Is this positive or negative? {t}", "Classify as positive or negative: {t}", "{t}\nPositive or negative?", "Sentiment of this text: {t}",
          'What is the sentiment of "{t}"?', "Decide: positive or negative. {t}", "Classify this sentiment: {t}", "Rate this review: {t}",
          "Is the following review positive or negative?\n{t}"]


def sentiment(rng: Random) -> Sample:
    good = rng.random() < 0.5
    text = rng.choice(_GOOD if good else _BAD).format(n=rng.choice(_RATED))
    label = "positive" if good else "negative"
    if rng.random() < 0.15:
        return say(f'{text} Answer in JSON with the key "sentiment".', json.dumps({"sentiment": label}))
    return say(pick(rng, _JUDGE, t=text), label)


SOURCES = [(extract, 6.0), (question, 2.0), (make_object, 1.0), (json_list, 1.0), (sentiment, 1.5)]
