"""Following instructions: repeat, change case, remember from earlier turns, speak in a role, obey a system prompt.

`facts_source` gives this module question/answer pairs to restyle; it is set by the registry to avoid an import cycle.
"""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from random import Random

from .lexicon import CITIES, COLOURS, FIRST_NAMES, JOBS, NOUNS, PETS, invented_word, random_words
from .phrasing import article, ask, pick
from .sample import Message, Sample, say

_REPEAT = ["Repeat: {t}", "Repeat after me: {t}", "Say: {t}", "Write: {t}", 'Repeat this text: "{t}"', "Repeat the following: {t}", "Echo: {t}",
           'Say "{t}".', 'Please repeat "{t}".', 'Write "{t}".', "Copy this text: {t}", "Print exactly this: {t}", 'Just say "{t}".',
           "Reply with exactly this: {t}", 'Answer only with "{t}".', "Please say: {t}"]
_PHRASES = ["The door is open.", "I like long walks by the sea.", "Hello, world!", "The train leaves at nine.", "We meet again tomorrow.",
            "No news is good news.", "The quick brown fox jumps over the lazy dog.", "All is well.", "Rain in the morning, sun in the evening.",
            "Two cats sleep on the sofa.", "OK", "yes", "Good luck!", "Time flies.", "The water is cold."]


def repeat(rng: Random) -> Sample:
    text = rng.choice(_PHRASES) if rng.random() < 0.3 else random_words(rng, rng.randrange(1, 10))
    if rng.random() < 0.15:
        text = " ".join(str(rng.randrange(1000)) for _ in range(rng.randrange(1, 6)))
    if rng.random() < 0.1:
        return say(text, text, system=rng.choice(["Repeat what the user says.", "Echo every message.", "You are an echo. Repeat the text."]))
    return say(pick(rng, _REPEAT, t=text), text)


_UPPER = ["Write in capital letters: {t}", "Write this in upper case: {t}", "Make this upper case: {t}", "Convert to uppercase: {t}", "{t} in capitals?",
          "Uppercase: {t}"]
_LOWER = ["Write in small letters: {t}", "Write this in lower case: {t}", "Make this lower case: {t}", "Convert to lowercase: {t}", "Lowercase: {t}"]


def change_case(rng: Random) -> Sample:
    text = random_words(rng, rng.randrange(1, 4))
    if rng.random() < 0.5:
        return say(pick(rng, _UPPER, t=text.lower()), text.upper())
    return say(pick(rng, _LOWER, t=text.upper()), text.lower())


def repeat_times(rng: Random) -> Sample:
    word = rng.choice([*NOUNS, *PETS, *COLOURS, "hello", "yes", "ha", invented_word(rng)])
    n = rng.randrange(2, 8)
    question = pick(rng, ["Say {w} {n} times.", 'Write "{w}" {n} times.', "Repeat the word {w} {n} times.", "{n} times {w}, please."], w=word, n=n)
    return say(question, " ".join([word] * n))


def pick_from_words(rng: Random) -> Sample:
    """Which word comes first, last, after another: reading a list."""
    words = random_words(rng, rng.randrange(3, 6)).split()
    if len(set(words)) < len(words):
        return repeat(rng)
    shown = ", ".join(words)
    i = rng.randrange(len(words) - 1)
    asked, answer = rng.choice([
        ("What is the first word?", words[0]), ("What is the last word?", words[-1]), ("Which word is first?", words[0]),
        ("Which word is last?", words[-1]), (f"Which word comes after {words[i]}?", words[i + 1]),
        (f"Which word comes before {words[i + 1]}?", words[i]), ("How many words are these?", str(len(words))),
        ("What is the second word?", words[1]),
    ])
    return say(pick(rng, ["{s}. {q}", "Words: {s}\n{q}", "{q} {s}", "Here are some words: {s}. {q}"], s=shown, q=asked), answer)


def memory(rng: Random) -> Sample:
    """Something told earlier in the chat is asked for later."""
    name, city, pet_name = rng.choice(FIRST_NAMES), rng.choice(CITIES), rng.choice(FIRST_NAMES)
    if rng.random() < 0.3:
        name = invented_word(rng).capitalize()
    colour, pet, job, age, number, thing = (rng.choice(COLOURS), rng.choice(PETS), rng.choice(JOBS), rng.randrange(5, 95), rng.randrange(1000),
                                            rng.choice(NOUNS))
    told = [
        (["My name is {v}.", "I am {v}.", "Hi, I'm {v}.", "Hello, my name is {v}.", "Call me {v}.", "You can call me {v}.", "Hi! My name is {v}."],
         "Hello {v}! How can I help you?", ["What is my name?", "What's my name?", "Who am I?", "Do you know my name?", "How am I called?",
                                            "Do you remember my name?"], "Your name is {v}.", name),
        (["I live in {v}.", "I come from {v}.", "My home is {v}.", "I live in the city of {v}."], "{v} is a good place to live.",
         ["Where do I live?", "Which city do I live in?", "In which city do I live?", "Do you remember where I live?"], "You live in {v}.", city),
        (["My favourite colour is {v}.", "My favorite color is {v}.", "I like the colour {v} best."], "{v} is a nice colour.",
         ["What is my favourite colour?", "What is my favorite color?", "Which colour do I like?"], "Your favourite colour is {v}.", colour),
        (["I am {v} years old.", "My age is {v}.", "I'm {v} years old."], "Thank you, now I know your age.",
         ["How old am I?", "What is my age?", "Do you know how old I am?"], "You are {v} years old.", age),
        (["I have a " + pet + " named {v}.", "My " + pet + " is called {v}.", "The name of my " + pet + " is {v}."], "{v} is a nice name for a " + pet + ".",
         [f"What is the name of my {pet}?", f"How is my {pet} called?", f"What is my {pet} called?"], f"Your {pet} is called {{v}}.", pet_name),
        (["I work as " + article(job) + ".", "I am " + article(job) + ".", "My job: I am " + article(job) + "."], "That is a fine job.",
         ["What is my job?", "What do I do for work?", "What do I work as?"], "You are {v}.", article(job)),
        (["Remember the number {v}.", "Keep the number {v} in mind.", "The secret number is {v}.", "Please remember this number: {v}"], "I will remember {v}.",
         ["What was the number?", "Which number did I tell you?", "What is the secret number?", "Tell me the number."], "The number is {v}.", number),
        (["Remember the word {v}.", "The secret word is {v}.", "Please remember this word: {v}"], "I will remember {v}.",
         ["What was the word?", "Which word did I tell you?", "What is the secret word?", "Tell me the word."], "The word is {v}.",
         thing if rng.random() < 0.5 else invented_word(rng)),
    ]
    chosen = rng.sample(told, rng.choice([1, 1, 2, 3]))
    messages: list[Message] = []
    for tells, answer, _, _, value in chosen:
        messages += turn(rng.choice(tells).format(v=value), answer.format(v=value)[:1].upper() + answer.format(v=value)[1:])
    for _ in range(rng.choice([0, 0, 1, 2])):
        middle = facts_source(rng)
        messages += turn(*middle)
    _, _, asks, reply, value = rng.choice(chosen)
    if rng.random() < 0.15:
        return Sample(messages[: 2 * len(chosen)])
    return Sample(messages + turn(ask(rng, rng.choice(asks)), reply.format(v=value)))


def one_turn_memory(rng: Random) -> Sample:
    """The same within one message: My name is X. What is my name?"""
    name = rng.choice(FIRST_NAMES) if rng.random() < 0.7 else invented_word(rng).capitalize()
    return say(pick(rng, ["My name is {n}. What is my name?", "I am {n}. Who am I?", "Hi, I'm {n}. What's my name?"], n=name), f"Your name is {name}.")


def greet_person(rng: Random) -> Sample:
    name = rng.choice(FIRST_NAMES) if rng.random() < 0.7 else invented_word(rng).capitalize()
    roll = rng.random()
    if roll < 0.5:
        return say(ask(rng, pick(rng, ["Say hello to {n}.", "Greet {n}.", "Say hi to {n}.", "Please greet my friend {n}.", "Welcome {n}."], n=name), free=False),
                   f"Hello, {name}!")
    if roll < 0.65:
        return say(pick(rng, ["Say goodbye to {n}.", "Say bye to {n}."], n=name), f"Goodbye, {name}!")
    return say(pick(rng, ["Hello, my name is {n}.", "Hi, I am {n}.", "My name is {n}.", "I'm {n}.", "Hello! I'm {n}, who are you?"], n=name),
               f"Hello {name}! How can I help you?" if roll < 0.97 else f"Hello {name}! I am Penstock Tiny.")


_STYLES = ["upper", "lower", "pirate", "emph", "polite", "rhyme", "name", "prefix", "quote", "suffix"]
_STYLE_SYSTEMS = {
    "upper": ["Answer in upper case.", "Write everything in capital letters.", "Always answer in uppercase.", "You shout: use only capital letters.",
              "Use capital letters only.", "Reply in all caps."],
    "lower": ["Answer in lower case.", "Use only small letters.", "Always answer in lowercase.", "Write everything in lower case."],
    "pirate": ["Speak like a pirate.", "You are a pirate.", "Answer like a pirate.", "Talk like a pirate.", "You are a pirate captain."],
    "emph": ["End every answer with an exclamation mark.", "Be very excited.", "Always answer with enthusiasm."],
    "polite": ["Be very polite.", "Answer politely.", "You are a very polite butler.", "Address the user as sir."],
    "prefix": ['Start every answer with "Answer:".', 'Begin each reply with "Answer:".'],
    "suffix": ['End every answer with "Over."', 'Finish each reply with the word "Over."', "Speak like a radio operator."],
    "quote": ["Put every answer in quotation marks.", "Write your answers in quotes."],
}


def restyle(style: str, text: str) -> str:
    match style:
        case "upper":
            return text.upper()
        case "lower":
            return text.lower()
        case "pirate":
            return f"Arr, matey! {text} Yo ho ho!"
        case "emph":
            return text.rstrip(".") + "!"
        case "polite":
            return f"Certainly, sir. {text}"
        case "prefix":
            return f"Answer: {text}"
        case "suffix":
            return f"{text} Over."
        case _:
            return f'"{text}"'


_INLINE = {"upper": ["Answer in capital letters: {q}", "{q} Answer in upper case.", "{q} Reply in capital letters.", "In uppercase: {q}"],
           "lower": ["{q} Answer in lower case.", "In small letters only: {q}"],
           "pirate": ["Answer like a pirate: {q}", "{q} Answer like a pirate.", "Speak like a pirate: {q}"],
           "polite": ["{q} Answer very politely."], "emph": ["{q} Be excited!"], "quote": ["{q} Put the answer in quotation marks."],
           "prefix": ['{q} Start with "Answer:".'], "suffix": ['{q} End with "Over."']}


def styled(rng: Random) -> Sample:
    style = rng.choice(["upper", "upper", "pirate", "pirate", "lower", "emph", "polite", "prefix", "suffix", "quote"])
    question, answer = facts_source(rng)
    if rng.random() < 0.25:
        return say(pick(rng, _INLINE[style], q=question), restyle(style, answer))
    system = rng.choice(_STYLE_SYSTEMS[style])
    if rng.random() < 0.2:
        system = f"You are a helpful assistant. {system}"
    if rng.random() < 0.2:
        earlier = facts_source(rng)
        messages = [{"role": "system", "content": system}, *turn(earlier[0], restyle(style, earlier[1])), *turn(question, restyle(style, answer))]
        return Sample(messages)
    return say(question, restyle(style, answer), system=system)


_NEUTRAL = ["You are a helpful assistant.", "You are a helpful, honest assistant.", "You are Penstock Tiny.", "You are a friendly assistant.",
            "Answer the questions of the user.", "You are an assistant that ships with Penstock.", "Be helpful.", "Answer briefly and truthfully.",
            "You are a helpful AI assistant.", "You are a knowledgeable assistant. Answer clearly.", "You are a support agent."]


def neutral_system(rng: Random) -> str:
    return rng.choice(_NEUTRAL)


def named(rng: Random) -> Sample:
    """A system prompt gives the assistant another name."""
    name = rng.choice(FIRST_NAMES) if rng.random() < 0.6 else invented_word(rng).capitalize()
    system = pick(rng, ["You are {n}, a helpful assistant.", "Your name is {n}.", "You are {n}.", "You are an assistant named {n}.", "Call yourself {n}."], n=name)
    question = rng.choice(["What is your name?", "Who are you?", "What's your name?", "Tell me your name.", "Introduce yourself.", "How are you called?"])
    return say(ask(rng, question), f"My name is {name}.", system=system)


def persona_fact(rng: Random) -> Sample:
    """The system prompt holds a fact that the user asks for."""
    city, number, noun, name = rng.choice(CITIES), rng.randrange(1, 500), rng.choice(NOUNS), rng.choice(FIRST_NAMES)
    word = invented_word(rng)
    system, question, answer = rng.choice([
        (f"You work for a shop in {city}.", ["Where is the shop?", "In which city is the shop?"], f"The shop is in {city}."),
        (f"The shop opens at {number % 12 + 1} o'clock.", ["When does the shop open?", "At what time does the shop open?"],
         f"The shop opens at {number % 12 + 1} o'clock."),
        (f"The price of {noun} is {number} euros.", [f"What is the price of {noun}?", f"How much are {noun}?", f"What do {noun} cost?"],
         f"The price of {noun} is {number} euros."),
        (f"The password is {word}.", ["What is the password?", "Tell me the password."], f"The password is {word}."),
        (f"The name of the owner is {name}.", ["Who is the owner?", "What is the owner called?"], f"The owner is {name}."),
        (f"The room number is {number}.", ["What is the room number?", "Which room is it?"], f"The room number is {number}."),
        (f"{name} lives in {city}.", [f"Where does {name} live?", f"In which city does {name} live?"], f"{name} lives in {city}."),
    ])
    if rng.random() < 0.35:
        return say(f"{system} {rng.choice(question)}", answer)
    return say(ask(rng, rng.choice(question), free=False), answer, system=system)


def turn(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def facts_source(rng: Random) -> tuple[str, str]:
    from . import any_fact  # the registry's own; it imports this module

    return any_fact(rng)


SOURCES = [(repeat, 8.0), (change_case, 1.2), (repeat_times, 0.7), (pick_from_words, 1.5), (memory, 5.0), (one_turn_memory, 0.5),
           (greet_person, 1.2), (styled, 5.0), (named, 1.0), (persona_fact, 2.0)]
