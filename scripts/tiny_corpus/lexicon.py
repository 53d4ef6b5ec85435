"""Names, cities, nouns and invented words that other sources draw from when a value only has to be copied."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501, SIM905
from __future__ import annotations

from random import Random

FIRST_NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jack Karl Lisa Maria Nina Oscar Paul Rosa Sam Tina Victor Wendy Alice
Bob Carol Dan Eva Frank George Hannah Ivan Julia Kate Leo Mia Noah Olivia Peter Quinn Rita Simon Tom Ursula Vera Will Yara Zoe Max
Laura Chris Daniel Sophie Lucas Amir Priya Chen Yuki Omar Fatima Diego Carlos Elena Hugo Igor Jonas Lena Marta Nadia Pedro Raj
Sven Tara Mehmet Aisha Kenji Mei Ravi Ingrid Bruno Greta Anton Dora Erik Fiona""".split()
LAST_NAMES = """Smith Miller Brown Jones Meyer Schmidt Garcia Lopez Rossi Novak Kim Lee Tanaka Singh Patel Ali Hansen Berg Costa Silva
Young King Green Hill Baker Cook Fisher Weber Wolf Moore Clark Adams Walker Wright Scott Turner Parker""".split()
CITIES = """Paris London Berlin Rome Madrid Vienna Lisbon Oslo Athens Dublin Prague Warsaw Budapest Tokyo Beijing Delhi Cairo Nairobi
Sydney Toronto Boston Chicago Seattle Denver Hamburg Munich Cologne Zurich Geneva Milan Naples Venice Barcelona Seville Porto Lyon
Marseille Nice Bristol Leeds Oxford Glasgow Helsinki Stockholm Copenhagen Brussels Amsterdam Moscow Istanbul Dubai Mumbai Singapore
Seoul Bangkok Lima Bogota Santiago Montreal Vancouver Dallas Miami Houston Austin""".split()
CITIES += ["New York", "San Francisco", "Los Angeles", "Buenos Aires", "Cape Town", "Hong Kong", "Mexico City"]
NOUNS = """bread butter milk eggs cheese apples bananas coffee tea sugar rice pasta tomatoes honey salt soap paper pencils batteries
candles flowers carrots onions potatoes oranges chocolate cookies juice water yoghurt flour oil nuts lemons grapes ham fish notes
report letter table lamp garden river mountain bridge window mirror basket bottle blanket kettle ladder wallet umbrella""".split()
JOBS = """teacher doctor nurse baker driver farmer singer painter pilot cook lawyer engineer plumber gardener writer dentist carpenter
student tailor waiter actor scientist programmer librarian""".split()
COLOURS = "red blue green yellow black white purple pink brown grey orange".split()
PETS = "dog cat rabbit horse parrot hamster goldfish turtle mouse pony".split()

_HEADS = "b br c ch d dr f fl g gr h j k kl l m n p pl qu r s sh sl st t tr v w y z".split()
_VOWELS = "a e i o u ai ee oo ou".split()
_TAILS = "b ck d g l ll m n nd ng p r rt s st t x".split()


def invented_word(rng: Random) -> str:
    """One or two syllables that mean nothing."""
    return "".join(rng.choice(_HEADS) + rng.choice(_VOWELS) + (rng.choice(_TAILS) if rng.random() < 0.6 else "") for _ in range(rng.choice([1, 2, 2])))


def random_words(rng: Random, n: int) -> str:
    pools = (NOUNS, COLOURS, PETS, FIRST_NAMES, JOBS)
    return " ".join(invented_word(rng) if rng.random() < 0.25 else rng.choice(rng.choice(pools)) for _ in range(n))
