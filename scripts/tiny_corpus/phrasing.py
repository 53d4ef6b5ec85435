"""How people type: openers, closers, missing capitals and question marks, small slips of the finger.

`ask` turns one clean question into one of its many surface forms; the meaning never changes.
"""

# The lines are sentences and tables, kept as they read best.
# fmt: off
from __future__ import annotations

from random import Random

OPENERS = [
    "Hey, ", "Hi, ", "Hello, ", "Hi! ", "Hello! ", "Please tell me: ", "Tell me: ", "Quick question: ", "Question: ",
    "I have a question. ", "Can you help me? ", "I would like to know: ", "So, ", "OK, ", "Just wondering, ",
    "Could you tell me: ", "Help me please: ", "One question: ", "Maybe you know: ",
    "I wonder: ", "Excuse me, ", "Dear assistant, ", "For my homework: ", "By the way, ",
    "Now tell me: ", "Please, ", "A short question: ", "Well, ", "My question is: ", "Let me ask: ",
    "Sorry, ", "Yo, ", "First, ",
    "Next question: ", "I forgot: ", "Hm, ", "And ", "Also, ", "Answer this: ", "Could you answer this? ",
]
CLOSERS = [" Thanks!", " Thanks.", " Thank you.", " Thank you!", " please", ", please", " Please answer.",
           " Please be brief.", " I forgot.", " I am curious.", " Just asking."]


def ask(rng: Random, question: str, free: bool = True) -> str:
    """A surface form of `question`; with free=False only case and punctuation may change at the ends."""
    text = question
    if free and rng.random() < 0.16:
        opener = rng.choice(OPENERS)
        text = opener + (lower_first(text) if opener.endswith(", ") else text)
    if free and rng.random() < 0.07:
        closer = rng.choice(CLOSERS)
        text = (text.rstrip("?.!") if closer[1:2].islower() or closer[0] == "," else text) + closer
    roll = rng.random()
    if roll < 0.10:
        text = text.rstrip("?.!")
    elif roll < 0.14:
        text = text.rstrip("?.!") + rng.choice(["??", "?!", " ?", "...", "!"])
    if not free:
        return text
    roll = rng.random()
    if roll < 0.14:
        text = text.lower()
    elif roll < 0.16:
        text = text.upper()
    elif roll < 0.19:
        text = slip(rng, text)
    return text


def lower_first(text: str) -> str:
    """Lower the first letter unless the word looks like a name, an acronym or 'I'."""
    word = text.split(" ", 1)[0].rstrip("?.,!")
    plain = {"What", "Which", "Who", "How", "Where", "When", "Why", "Can", "Could", "Is", "Are", "Do", "Does", "Tell",
             "Name", "Give", "Please", "In", "The", "Explain", "Describe", "Say", "List", "Count", "Write"}
    return text[:1].lower() + text[1:] if word in plain else text


def slip(rng: Random, text: str) -> str:
    """Swap, drop or double one inner letter of one longer lower-case word, as hurried fingers do."""
    spots = [i for i in range(1, len(text) - 2) if text[i - 1 : i + 2].isalpha() and text[i - 1 : i + 2].islower()]
    if not spots:
        return text
    i = rng.choice(spots)
    kind = rng.randrange(3)
    if kind == 0:
        return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    if kind == 1:
        return text[:i] + text[i + 1 :]
    return text[:i] + text[i] + text[i:]


def pick(rng: Random, options: list[str], **values: object) -> str:
    """One of the templates, filled with `values`."""
    return rng.choice(options).format(**values)


def capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


def article(word: str) -> str:
    return ("an " if word[:1].lower() in "aeiou" else "a ") + word


def join_words(words: list[str], last: str = "and") -> str:
    if len(words) < 2:
        return "".join(words)
    return ", ".join(words[:-1]) + f" {last} " + words[-1]
