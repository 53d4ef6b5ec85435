"""Short stories put together from parts that agree with each other: who, where, what was lost, who helped, how it ended."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from random import Random

from .lexicon import FIRST_NAMES
from .phrasing import ask, pick
from .sample import Sample, say

HEROES = {"girl": "she her", "boy": "he his", "fox": "it its", "cat": "it its", "dog": "it its", "robot": "it its", "king": "he his", "queen": "she her",
          "farmer": "he his", "princess": "she her", "mouse": "it its", "bear": "it its", "owl": "it its", "dragon": "it its", "wizard": "he his",
          "fisherman": "he his", "rabbit": "it its", "frog": "it its", "knight": "he his", "sailor": "he his", "baker": "she her"}
KINDS = ["little", "young", "old", "brave", "clever", "shy", "kind", "curious", "tired", "lonely", "cheerful"]
PLACES = ["in a small village", "at the edge of a dark forest", "by the sea", "on a high mountain", "in a big city", "on a green hill",
          "in an old castle", "on a quiet farm", "beside a wide river", "in a tiny house"]
LOST = ["a golden key", "a red ball", "a silver ring", "a warm hat", "a small lamp", "an old map", "a music box", "a blue scarf", "a wooden boat", "a letter"]
SEARCH = [("in the forest", "Under an old tree"), ("along the river", "Beside a flat stone"), ("in the garden", "Behind the roses"),
          ("on the beach", "Between two shells"), ("in the attic", "In a dusty box"), ("in the field", "In the tall grass"),
          ("at the market", "Next to a fruit stand"), ("in the snow", "Near a frozen pond")]
HELPERS = ["a wise owl", "a small mouse", "an old woman", "a friendly dog", "a tall stranger", "a quick squirrel", "a patient turtle", "a singing bird"]
ENDS = ["They became good friends and met every day.", "From that day on they were never lonely again.", "Everybody in the place heard of it and was glad.",
        "They shared a loaf of bread and laughed until the evening.", "That night there was a feast with music and light.",
        "And they all lived happily ever after."]
WISHES = [("to see the sea", "walked for three days", "the sea lay there, wide and blue"), ("to touch the moon", "climbed the highest hill", "the moon was so near that it filled the sky"),
          ("to learn to sing", "practised every morning", "a clear song rang out over the roofs"), ("to find a friend", "knocked at every door", "one door opened and a kind face looked out"),
          ("to build a boat", "collected wood for a whole summer", "the boat swam on the water like a swan"), ("to grow the largest pumpkin", "watered the garden every evening", "the pumpkin was as big as a cart"),
          ("to cross the mountains", "packed some bread and a rope", "the last valley lay there in the sun"), ("to bake the best cake", "tried a new recipe each day", "the whole street smelled of sugar and apples")]
ASKS = ["Tell me a story.", "Tell me a short story.", "Write a short story.", "Can you tell me a story?", "I want to hear a story.", "Write a story.",
        "Please tell me a story.", "Once more a story, please.", "Make up a story.", "Do you know a story?", "Tell me a bedtime story.",
        "Write a little tale.", "Tell me a fairy tale.", "Read me a story.", "Tell a story."]
ASKS_ABOUT = ["Tell me a story about {h}.", "Write a short story about {h}.", "Can you tell me a story about {h}?", "A story about {h}, please.",
              "Tell me a tale of {h}.", "Write a story with {h} in it.", "I want a story about {h}.", "Please write a story about {h}.",
              "Make up a story about {h}.", "Tell me a bedtime story about {h}."]


def story(rng: Random) -> tuple[str, str]:
    """The hero ("a fox") and the story."""
    hero = rng.choice(list(HEROES))
    they, their = HEROES[hero].split()
    kind, place = rng.choice(KINDS), rng.choice(PLACES)
    name = f" named {rng.choice(FIRST_NAMES)}" if rng.random() < 0.7 else ""
    a_kind = ("an " if kind[0] in "aeiou" else "a ") + kind
    start = f"Once upon a time there was {a_kind} {hero}{name}, who lived {place}."
    if rng.random() < 0.6:
        lost, (where, found), helper = rng.choice(LOST), rng.choice(SEARCH), rng.choice(HELPERS)
        thing = lost.split(" ", 1)[1]
        text = (f"{start} One day {they} lost {lost}. The {hero} looked for it {where} the whole morning and could not find it. "
                f'Then {helper} came by and asked: "Why are you so sad?" "I have lost my {thing}," said the {hero}. '
                f"They searched together. {found} something shone in the light: it was the {thing}! The {hero} was very happy. {rng.choice(ENDS)}")
    else:
        wish, deed, result = rng.choice(WISHES)
        text = (f"{start} The {hero} had one wish: {wish}. Everybody said that it could not be done. But the {hero} did not give up. "
                f"So {they} {deed}. And at last {result}. The {hero} smiled and knew that {their} long work had been worth it. {rng.choice(ENDS)}")
    return ("an " if hero[0] in "aeiou" else "a ") + hero, text


def story_sample(rng: Random) -> Sample:
    hero, text = story(rng)
    roll = rng.random()
    if roll < 0.15:
        return Sample(text=text)
    if roll < 0.45:
        return say(ask(rng, rng.choice(ASKS)), text)
    return say(ask(rng, pick(rng, ASKS_ABOUT, h=hero)), text)


def long_story(rng: Random) -> Sample:
    count = rng.choice([2, 2, 3])
    parts = [story(rng)[1] for _ in range(count)]
    question = rng.choice([f"Tell me {count} stories.", f"Write {count} short stories.", f"I want to hear {count} stories.", f"Tell me {['', '', 'two', 'three'][count]} stories.",
                           "Tell me a long story.", "Write a long story."])
    return say(question, "\n\n".join(parts))


SOURCES = [(story_sample, 3.0), (long_story, 0.3)]
