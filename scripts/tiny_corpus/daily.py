"""Everyday knowledge: the calendar, units, number words, Roman numerals, letters, the body, what things are for."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from random import Random

from .phrasing import ask, pick
from .relations import Relation, table
from .sample import Sample, say

DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December"]
LENGTHS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
            "twelfth"]
ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI", "XVII",
         "XVIII", "XIX", "XX"]
SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

UNITS = table("many one amount", """
minutes | an hour | 60
seconds | a minute | 60
hours | a day | 24
days | a week | 7
days | a year | 365
days | a leap year | 366
weeks | a year | 52
months | a year | 12
years | a decade | 10
years | a century | 100
years | a millennium | 1000
centimetres | a metre | 100
centimeters | a meter | 100
millimetres | a centimetre | 10
metres | a kilometre | 1000
meters | a kilometer | 1000
grams | a kilogram | 1000
kilograms | a tonne | 1000
millilitres | a litre | 1000
inches | a foot | 12
feet | a yard | 3
items | a dozen | 12
eggs | a dozen | 12
degrees | a circle | 360
degrees | a right angle | 90
sides | a triangle | 3
sides | a square | 4
sides | a pentagon | 5
sides | a hexagon | 6
sides | an octagon | 8
cents | a dollar | 100
cents | a euro | 100
bits | a byte | 8
bytes | a kibibyte | 1024
letters | the English alphabet | 26
planets | the solar system | 8
continents | the world | 7
colours | a rainbow | 7
colors | a rainbow | 7
strings | a violin | 4
strings | a guitar | 6
players | a football team | 11
squares | a chess board | 64
wheels | a bicycle | 2
wheels | a car | 4
seasons | a year | 4
fingers | one hand | 5
toes | two feet | 10
""")

USES = table("thing use", """
a hammer | drive nails into wood
a knife | cut food
scissors | cut paper
a key | open a lock
an umbrella | stay dry in the rain
a pen | write
a clock | tell the time
a fridge | keep food cold
an oven | bake bread and cakes
a bed | sleep
a telescope | look at the stars
a microscope | look at very small things
a thermometer | measure temperature
a scale | measure weight
a ruler | measure length
a compass | find the direction north
a broom | sweep the floor
soap | wash your hands
a map | find the way
a calculator | calculate
a camera | take pictures
a lamp | make light
a needle | sew clothes
a saw | cut wood
a spoon | eat soup
""")

BODY = table("part use", """
the heart | pumps blood through the body
the lungs | take in oxygen when we breathe
the brain | lets us think and steers the body
the stomach | digests food
the eyes | let us see
the ears | let us hear
the nose | lets us smell
the skin | protects the body
the bones | hold the body up
the muscles | move the body
the kidneys | clean the blood
the teeth | chew food
the tongue | lets us taste
the liver | cleans the blood and stores energy
""")

BASICS = table("asked answer", """
At what temperature does water freeze | Water freezes at 0 degrees Celsius.
At what temperature does water boil | Water boils at 100 degrees Celsius at sea level.
What is the freezing point of water | Water freezes at 0 degrees Celsius.
What is the boiling point of water | Water boils at 100 degrees Celsius at sea level.
What is water made of | Water is made of hydrogen and oxygen.
What is the chemical formula of water | The chemical formula of water is H2O.
What is H2O | H2O is water.
What is the formula for salt | The chemical formula of table salt is NaCl.
What is CO2 | CO2 is carbon dioxide.
What gas do we breathe in to live | We need oxygen to live.
What gas do plants take in | Plants take in carbon dioxide and give off oxygen.
How fast is light | Light travels about 300,000 kilometres per second.
What is the speed of light | Light travels about 300,000 kilometres per second.
How far is the Moon | The Moon is about 384,000 kilometres from Earth.
How far away is the Sun | The Sun is about 150 million kilometres from Earth.
How old is the Earth | The Earth is about 4.5 billion years old.
What does the Earth move around | The Earth moves around the Sun.
What moves around the Earth | The Moon moves around the Earth.
Where does the sun rise | The sun rises in the east.
Where does the sun set | The sun sets in the west.
Why is the sky blue | The sky is blue because air scatters blue light more than red light.
Why is grass green | Grass is green because it contains chlorophyll, which reflects green light.
Why do leaves fall in autumn | Trees drop their leaves in autumn to save water during the cold winter.
Why is the sea salty | The sea is salty because rivers carry salts from rocks into it.
Why does ice float | Ice floats because it is less dense than liquid water.
Why do we have seasons | We have seasons because the axis of the Earth is tilted.
Why do we have day and night | We have day and night because the Earth turns around its axis.
Why do we sleep | We sleep so that the body and the brain can rest and repair themselves.
What do bees make | Bees make honey.
What do cows give us | Cows give us milk.
Where does honey come from | Honey comes from bees.
Where does milk come from | Milk comes from cows.
What is bread made of | Bread is made of flour, water, salt and yeast.
What is cheese made of | Cheese is made of milk.
What is paper made of | Paper is made of wood.
What is glass made of | Glass is made of sand.
What is the value of pi | Pi is about 3.14159.
What is pi | Pi is the ratio of a circle's circumference to its diameter, about 3.14159.
What is the square root of 16 | The square root of 16 is 4.
What is the square root of 9 | The square root of 9 is 3.
What is the square root of 25 | The square root of 25 is 5.
What is the square root of 100 | The square root of 100 is 10.
What is half of 10 | Half of 10 is 5.
What is half of 100 | Half of 100 is 50.
""")

_BASIC_FORMS = ["{q}?", "{q}?", "Do you know the answer: {low}?", "I wonder: {low}?", "A question about the world: {low}?",
                "Please answer: {low}?", "Tell me: {low}?"]


def basics(rng: Random) -> Sample:
    row = rng.choice(BASICS)
    question = row["asked"]
    text = pick(rng, _BASIC_FORMS, q=question, low=question[:1].lower() + question[1:])
    if rng.random() < 0.1:
        return Sample(text=f"Question: {question}?\nAnswer: {row['answer']}")
    return say(ask(rng, text), row["answer"])


def in_words(n: int) -> str:
    if n < 20:
        return SMALL[n]
    if n < 100:
        return TENS[n // 10] + (f"-{SMALL[n % 10]}" if n % 10 else "")
    rest = f" and {in_words(n % 100)}" if n % 100 else ""
    return f"{SMALL[n // 100]} hundred{rest}"


def calendar(rng: Random) -> Sample:
    names, what = rng.choice([(DAYS, "day"), (MONTHS, "month")])
    i = rng.randrange(len(names))
    name, after, before = names[i], names[(i + 1) % len(names)], names[i - 1]
    kind = rng.randrange(4)
    if kind == 0:
        question = pick(rng, ["Which {w} comes after {n}?", "What {w} is after {n}?", "What comes after {n}?",
                              "Which {w} follows {n}?", "What is the {w} after {n}?", "Next {w} after {n}?"], w=what, n=name)
        return say(ask(rng, question), f"{after} comes after {name}.")
    if kind == 1:
        question = pick(rng, ["Which {w} comes before {n}?", "What {w} is before {n}?", "What comes before {n}?",
                              "What is the {w} before {n}?", "Which {w} is just before {n}?"], w=what, n=name)
        return say(ask(rng, question), f"{before} comes before {name}.")
    if kind == 2:
        question = pick(rng, ["What is the {o} {w} of the {p}?", "Which is the {o} {w} of the {p}?",
                              "Name the {o} {w} of the {p}."], o=ORDINALS[i], w=what, p={"day": "week", "month": "year"}[what])
        return say(ask(rng, question), f"The {ORDINALS[i]} {what} of the {'week' if what == 'day' else 'year'} is {name}.")
    i = rng.randrange(12)
    question = pick(rng, ["How many days does {m} have?", "How many days are in {m}?", "How long is {m}?",
                          "Number of days in {m}?", "How many days has {m}?"], m=MONTHS[i])
    tail = ", and 29 in a leap year" if i == 1 else ""
    return say(ask(rng, question), f"{MONTHS[i]} has {LENGTHS[i]} days{tail}.")


def whole_list(rng: Random) -> Sample:
    """The days, months, seasons, planets, the alphabet, the colours of the rainbow."""
    name, words = rng.choice([
        ("days of the week", DAYS), ("months of the year", MONTHS), ("seasons", ["Spring", "summer", "autumn", "winter"]),
        ("planets", ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"]),
        ("colours of the rainbow", ["Red", "orange", "yellow", "green", "blue", "indigo", "violet"]),
        ("letters of the alphabet", list(ALPHABET)), ("five senses", ["Sight", "hearing", "smell", "taste", "touch"]),
        ("continents", ["Africa", "Antarctica", "Asia", "Australia", "Europe", "North America", "South America"]),
    ])
    question = pick(rng, ["List the {n}.", "Name the {n}.", "What are the {n}?", "Tell me the {n}.", "Name all the {n}.",
                          "Can you list the {n}?", "List all {n}.", "Give me the {n}.", "Which are the {n}?",
                          "Say the {n}."], n=name)
    if name.startswith("letters"):
        return say(ask(rng, question), " ".join(words))
    if rng.random() < 0.25:
        return say(question + " One per line.", "\n".join(w[:1].upper() + w[1:] for w in words))
    return say(ask(rng, question), ", ".join(words[:-1]) + f" and {words[-1]}.")


def numbers(rng: Random) -> Sample:
    kind = rng.randrange(4)
    if kind == 0:
        n = rng.randrange(1000) if rng.random() < 0.4 else rng.randrange(101)
        question = pick(rng, ["Write {n} in words.", "How do you write {n} in words?", "{n} in words?", "Spell out {n}.",
                              "What is {n} in words?"], n=n)
        return say(ask(rng, question), f"{n} in words is {in_words(n)}.")
    if kind == 1:
        n = rng.randrange(1000) if rng.random() < 0.3 else rng.randrange(101)
        question = pick(rng, ["Write {w} as a number.", "Which number is {w}?", "{w} in digits?", "Write {w} in digits."],
                        w=in_words(n))
        return say(ask(rng, question), f"{in_words(n).capitalize()} is {n}.")
    if kind == 2:
        n = rng.randrange(1, 21)
        if rng.random() < 0.5:
            question = pick(rng, ["What is {n} in Roman numerals?", "Write {n} as a Roman numeral.",
                                  "What is the Roman numeral for {n}?"], n=n)
            return say(ask(rng, question), f"{n} in Roman numerals is {ROMAN[n - 1]}.")
        question = pick(rng, ["What number is the Roman numeral {r}?", "What does {r} mean as a Roman numeral?"], r=ROMAN[n - 1])
        return say(ask(rng, question, free=False), f"The Roman numeral {ROMAN[n - 1]} is {n}.")
    i = rng.randrange(25)
    if rng.random() < 0.5:
        question = pick(rng, ["Which letter comes after {a}?", "What letter follows {a}?", "What is the letter after {a}?"],
                        a=ALPHABET[i])
        return say(ask(rng, question, free=False), f"{ALPHABET[i + 1]} comes after {ALPHABET[i]}.")
    question = pick(rng, ["Which letter comes before {a}?", "What is the letter before {a}?"], a=ALPHABET[i + 1])
    return say(ask(rng, question, free=False), f"{ALPHABET[i]} comes before {ALPHABET[i + 1]}.")


RELATIONS = [
    Relation(
        asks=["How many {many} are in {one}?", "How many {many} does {one} have?", "How many {many} are there in {one}?",
              "{one} has how many {many}?", "Tell me how many {many} {one} has.", "What is the number of {many} in {one}?",
              "Number of {many} in {one}?", "How many {many} make {one}?", "How many {many} has {one}?"],
        answer="There are {amount} {many} in {one}.", short="{amount}", rows=UNITS, weight=1.8,
        check=["Are there {claim} {many} in {one}?", "Does {one} have {claim} {many}?"],
    ),
    Relation(
        asks=["What is {thing} used for?", "What do you use {thing} for?", "What is {thing} for?", "Why do people use {thing}?",
              "What can I do with {thing}?", "What is the use of {thing}?"],
        answer="You use {thing} to {use}.", short="to {use}", rows=USES, weight=0.8,
    ),
    Relation(
        asks=["What do I need to {use}?", "What do you use to {use}?", "With what do people {use}?",
              "Which thing helps me to {use}?", "How can I {use}?"],
        answer="To {use}, you use {thing}.", short="{thing}", rows=USES, weight=0.6,
    ),
    Relation(
        asks=["What does {part} do?", "What do {part} do?", "What is the job of {part}?", "What is {part} good for?",
              "Why do we need {part}?", "Which task has {part} in the body?"],
        answer="{part} {use}.", short="{use}", rows=BODY, weight=0.6,
    ),
]

SOURCES = [(basics, 2.0), (calendar, 2.0), (whole_list, 1.5), (numbers, 1.5)]
