"""Tool calls: which function fits, its arguments copied from the user's words, the answer after the tool's result.

Names and schemas vary (synonyms, styles, extra functions beside the right one) so that the model reads the list instead
of remembering it. Where no function fits, the answer is in plain words.
"""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any

from .daily import DAYS
from .instructions import facts_source
from .lexicon import CITIES, FIRST_NAMES, NOUNS, invented_word
from .phrasing import ask
from .sample import Sample

Values = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """A kind of function: possible names, description, parameters (slot -> names), requests, results."""

    names: list[str]
    about: list[str]
    slots: dict[str, tuple[list[str], str]]  # slot -> (parameter names, JSON type)
    asks: list[str]
    result: str  # JSON template of what the tool returns
    reply: str  # the answer after it


TOOLS = [
    Tool(["get_weather", "weather", "current_weather", "get_current_weather", "fetch_weather", "lookup_weather"],
         ["Get the weather of a city.", "Get the current weather", "Returns the weather for a place."],
         {"city": (["city", "location", "place", "city_name"], "string")},
         ["What is the weather in {city}?", "How is the weather in {city}?", "Weather in {city}?", "Is it raining in {city}?",
          "What's the weather like in {city}?", "Tell me the weather in {city}.", "How warm is it in {city}?",
          "Do I need an umbrella in {city}?", "Check the weather for {city}.", "Is it cold in {city} right now?",
          "What's the weather in {city} today?"],
         '{{"temperature": {small}, "condition": "{sky}"}}', "It is {small} degrees and {sky} in {city}."),
    Tool(["get_time", "current_time", "get_current_time", "time_in", "clock"],
         ["Get the time in a city.", "Returns the current local time of a place."],
         {"city": (["city", "location", "place", "timezone_city"], "string")},
         ["What time is it in {city}?", "What is the time in {city}?", "Tell me the time in {city}.", "How late is it in {city}?",
          "Current time in {city}?"],
         '{{"time": "{clock}"}}', "It is {clock} in {city}."),
    Tool(["search", "web_search", "search_web", "lookup", "find_pages"],
         ["Search the web.", "Search for a text and return the best page."],
         {"topic": (["query", "q", "text", "search_term"], "string")},
         ["Search for {topic}.", "Search the web for {topic}.", "Look up {topic}.", "Find pages about {topic}.",
          "Please search for {topic}.", "Can you look up {topic} on the web?"],
         '{{"title": "{topic}", "pages": {small}}}', "I found {small} pages about {topic}."),
    Tool(["add", "sum", "add_numbers", "plus"], ["Add two numbers.", "Returns the sum of a and b."],
         {"x": (["a", "x", "first"], "integer"), "y": (["b", "y", "second"], "integer")},
         ["Add {x} and {y}.", "What is {x} + {y}?", "What is {x} plus {y}?", "Calculate {x} + {y}.", "Use the tool to add {x} and {y}."],
         '{{"result": {total}}}', "{x} + {y} = {total}"),
    Tool(["multiply", "times", "product", "multiply_numbers"], ["Multiply two numbers.", "Returns the product of two numbers."],
         {"x": (["a", "x", "first"], "integer"), "y": (["b", "y", "second"], "integer")},
         ["Multiply {x} by {y}.", "What is {x} * {y}?", "What is {x} times {y}?", "Calculate {x} * {y}."],
         '{{"result": {times}}}', "{x} * {y} = {times}"),
    Tool(["send_email", "send_message", "message", "send_mail", "write_to"], ["Send a message to a person.", "Send a text to somebody."],
         {"name": (["to", "recipient", "person", "name"], "string"), "text": (["text", "message", "body", "content"], "string")},
         ['Send "{text}" to {name}.', 'Tell {name}: "{text}"', 'Write to {name}: "{text}"', 'Send a message to {name} that says "{text}".',
          'Please send {name} the text "{text}".'],
         '{{"status": "sent"}}', "I sent the message to {name}."),
    Tool(["create_event", "add_event", "add_to_calendar", "schedule", "book_meeting"],
         ["Add an event to the calendar.", "Create a calendar entry."],
         {"name": (["person", "with", "name", "guest"], "string"), "day": (["day", "date", "weekday"], "string")},
         ["Set up a meeting with {name} on {day}.", "Schedule a call with {name} for {day}.", "Book a meeting on {day} with {name}.",
          "Put lunch with {name} on {day} into my calendar.", "I want to meet {name} on {day}."],
         '{{"status": "ok"}}', "The meeting with {name} on {day} is in your calendar."),
    Tool(["set_timer", "start_timer", "timer"], ["Start a timer.", "Set a timer for some minutes."],
         {"small": (["minutes", "duration", "length_minutes"], "integer")},
         ["Set a timer for {small} minutes.", "Start a timer of {small} minutes.", "Timer for {small} minutes, please.",
          "Wake me in {small} minutes.", "Remind me in {small} minutes."],
         '{{"status": "started"}}', "The timer runs for {small} minutes."),
    Tool(["get_stock_price", "stock_price", "share_price", "get_price"], ["Get the price of a share.", "Returns the stock price of a company."],
         {"company": (["company", "symbol", "name", "ticker"], "string")},
         ["What is the stock price of {company}?", "How much is one share of {company}?", "Price of {company} shares?",
          "Tell me the share price of {company}."],
         '{{"price": {x}}}', "One share of {company} costs {x} dollars."),
    Tool(["translate", "translate_text", "translator"], ["Translate a text.", "Translate text into a language."],
         {"text": (["text", "content", "sentence"], "string"), "language": (["language", "target", "target_language", "to"], "string")},
         ['Translate "{text}" to {language}.', 'Translate "{text}" into {language}.', 'How do you say "{text}" in {language}? Use the tool.'],
         '{{"translation": "{word} {word2}"}}', 'In {language} it is "{word} {word2}".'),
    Tool(["convert_currency", "currency", "exchange", "convert_money"], ["Convert money into another currency.", "Currency conversion."],
         {"x": (["amount", "value"], "integer"), "cur": (["from", "from_currency", "source"], "string"), "cur2": (["to", "to_currency", "target"], "string")},
         ["Convert {x} {cur} to {cur2}.", "How much is {x} {cur} in {cur2}?", "What are {x} {cur} in {cur2}?", "Change {x} {cur} into {cur2}."],
         '{{"amount": {y}}}', "{x} {cur} are {y} {cur2}."),
    Tool(["turn_on", "switch_on", "light_on", "activate"], ["Turn a device on.", "Switch on a device in the house."],
         {"device": (["device", "name", "item"], "string")},
         ["Turn on the {device}.", "Switch on the {device}.", "Please turn the {device} on.", "I need the {device} on."],
         '{{"status": "on"}}', "The {device} is on."),
    Tool(["play_music", "play", "play_song", "start_music"], ["Play a song.", "Play music by an artist."],
         {"name": (["artist", "singer", "by", "name"], "string")},
         ["Play music by {name}.", "Play a song by {name}.", "I want to hear {name}.", "Put on some music by {name}."],
         '{{"status": "playing"}}', "Now playing music by {name}."),
    Tool(["find_restaurant", "search_restaurants", "restaurants", "restaurant_search"], ["Find a restaurant in a city.", "Search restaurants."],
         {"food": (["cuisine", "food", "kind"], "string"), "city": (["city", "location", "place"], "string")},
         ["Find a {food} restaurant in {city}.", "Where can I eat {food} food in {city}?", "I want {food} food in {city}.",
          "Search for {food} restaurants in {city}."],
         '{{"name": "{word}"}}', "There is a {food} restaurant in {city}: {word}."),
    Tool(["book_flight", "find_flight", "search_flights", "flights"], ["Find a flight.", "Search flights between two cities."],
         {"city": (["from", "origin", "from_city"], "string"), "city2": (["to", "destination", "to_city"], "string")},
         ["Find a flight from {city} to {city2}.", "I want to fly from {city} to {city2}.", "Book a flight from {city} to {city2}.",
          "Are there flights from {city} to {city2}?"],
         '{{"flights": {small}}}', "There are {small} flights from {city} to {city2}."),
    Tool(["get_user", "find_user", "lookup_customer", "get_customer"], ["Look up a user by id.", "Get the data of a customer."],
         {"x": (["user_id", "id", "customer_id"], "integer")},
         ["Who is user {x}?", "Look up the user with id {x}.", "Find customer {x}.", "Show me user {x}."],
         '{{"name": "{name}"}}', "User {x} is {name}."),
    Tool(["add_to_list", "add_item", "shopping_list_add", "remember_item"], ["Add an item to the shopping list.", "Put an item on a list."],
         {"noun": (["item", "name", "thing"], "string")},
         ["Put {noun} on my shopping list.", "Add {noun} to the list.", "I need to buy {noun}. Put it on the list.", "Add {noun} to my shopping list."],
         '{{"status": "added"}}', "I put {noun} on the list."),
    Tool(["read_file", "open_file", "get_file", "cat_file"], ["Read a file.", "Returns the text of a file."],
         {"path": (["path", "file", "filename"], "string")},
         ["Read the file {path}.", "Open {path}.", "What is in {path}?", "Show me the file {path}."],
         '{{"text": "{word} {word2}"}}', 'The file {path} says: "{word} {word2}".'),
]

FOODS = ["Italian", "Chinese", "Indian", "Mexican", "Thai", "Greek", "Japanese", "French", "Turkish", "vegan"]
MONEY = ["dollars", "euros", "pounds", "yen", "francs", "USD", "EUR", "GBP"]
DEVICES = ["lamp", "radio", "heating", "TV", "fan", "kitchen light", "coffee machine", "oven", "bedroom lamp", "printer"]
COMPANIES = ["Apple", "Google", "Tesla", "Microsoft", "Siemens", "Nokia", "Toyota", "Airbus", "Amazon", "Shell", "AAPL", "TSLA"]
TONGUES = ["French", "German", "Spanish", "Italian", "Japanese", "Dutch", "Polish", "Chinese"]
PHRASES = ["I am late", "see you soon", "good morning", "the train leaves at noon", "happy birthday", "where are you", "dinner is ready",
           "call me back", "thank you for the gift", "I love you", "the meeting is over", "bring some milk", "how are you",
           "the keys are on the table", "I will be there at five"]
TOPICS = ["cheap flights", "the history of Rome", "pasta recipes", "language models", "used bicycles", "the solar system", "garden plants",
          "electric cars", "piano lessons", "the weather on Mars", "old maps", "penguins", "Python tutorials"]


def draw(rng: Random) -> Values:
    """A value for every slot; many are invented so that copying is the only way."""
    city, city2 = rng.sample(CITIES, 2)
    if rng.random() < 0.3:
        city = invented_word(rng).capitalize()
    text = rng.choice(PHRASES) if rng.random() < 0.5 else f"{rng.choice(FIRST_NAMES)} {rng.choice(['likes', 'has', 'sees', 'needs'])} {rng.choice(NOUNS)}"
    x, y = rng.randrange(1000 if rng.random() < 0.5 else 50), rng.randrange(1000 if rng.random() < 0.3 else 50)
    name = rng.choice(FIRST_NAMES) if rng.random() < 0.75 else invented_word(rng).capitalize()
    return {
        "city": city, "city2": city2, "name": name, "text": text, "day": rng.choice([*DAYS, "tomorrow", "next Friday"]), "x": x, "y": y,
        "total": x + y, "times": x * y, "small": rng.randrange(2, 60), "company": rng.choice(COMPANIES) if rng.random() < 0.7 else name,
        "language": rng.choice(TONGUES), "device": rng.choice(DEVICES), "food": rng.choice(FOODS), "noun": rng.choice(NOUNS),
        "cur": rng.choice(MONEY[:4]), "cur2": rng.choice(MONEY[4:]), "topic": rng.choice(TOPICS) if rng.random() < 0.6 else rng.choice(NOUNS),
        "sky": rng.choice(["sunny", "cloudy", "rainy", "windy", "clear"]), "clock": f"{rng.randrange(24):02d}:{rng.randrange(60):02d}",
        "word": invented_word(rng), "word2": invented_word(rng), "path": f"{rng.choice(NOUNS)}{rng.choice(['.txt', '.md', '.py', '.json'])}",
    }


def schema(rng: Random, tool: Tool) -> tuple[dict[str, Any], dict[str, str]]:
    """One OpenAI-style description of the tool and the parameter name of each slot."""
    names = {slot: rng.choice(options) for slot, (options, _) in tool.slots.items()}
    described = rng.random() < 0.4
    properties = {}
    for slot, (_, kind) in tool.slots.items():
        properties[names[slot]] = {"type": kind} | ({"description": f"The {names[slot].replace('_', ' ')}"} if described else {})
    name = rng.choice(tool.names)
    if rng.random() < 0.12:
        name = f"{name}_{rng.choice(['v2', 'tool', 'api', 'x'])}"
    if rng.random() < 0.1:
        name = invented_word(rng) + "_" + name
    function: dict[str, Any] = {"name": name}
    if rng.random() < 0.9:
        function["description"] = rng.choice(tool.about)
    function["parameters"] = {"type": "object", "properties": properties}
    if rng.random() < 0.8:
        function["parameters"]["required"] = list(properties)
    described_tool: dict[str, Any] = {"type": "function", "function": function}
    return (ordered(described_tool) if rng.random() < 0.4 else described_tool), names


def ordered(value: Any) -> Any:
    """The same JSON with sorted keys, as some servers print it."""
    return json.loads(json.dumps(value, sort_keys=True))


def setting(rng: Random, tool: Tool) -> tuple[list[dict[str, Any]], str, dict[str, str]]:
    """A shuffled list of tools with `tool` among them, its name and its parameter names."""
    wanted, names = schema(rng, tool)
    others = [schema(rng, t)[0] for t in rng.sample([t for t in TOOLS if t is not tool], rng.choice([0, 0, 0, 1, 1, 2]))]
    listed = [wanted, *others]
    rng.shuffle(listed)
    return listed, wanted["function"]["name"], names


def call_of(name: str, names: dict[str, str], values: Values) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": {p: values[s] for s, p in names.items()}}}


SYSTEMS = ["", "", "", "You are a helpful assistant.", "You are a helpful assistant with tools.", "Use the tools when they help."]


def tool_call(rng: Random) -> Sample:
    tool, values = rng.choice(TOOLS), draw(rng)
    listed, name, names = setting(rng, tool)
    call = call_of(name, names, values)
    question = ask(rng, rng.choice(tool.asks).format(**values), free=False)
    reply: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [call]}
    thinking = rng.random() < 0.12
    if thinking:
        reply["reasoning_content"] = f"The function {name} fits."
    if rng.random() < 0.08 and len(tool.slots) == 1:
        other = draw(rng)
        slot = next(iter(tool.slots))
        if other[slot] != values[slot]:
            question = f"{rng.choice(tool.asks).format(**values)} And {lower(rng.choice(tool.asks).format(**other))}"
            reply["tool_calls"].append(call_of(name, names, other))
    return Sample([*system(rng), {"role": "user", "content": question}, reply], listed, thinking=thinking)


def after_result(rng: Random) -> Sample:
    tool, values = rng.choice(TOOLS), draw(rng)
    listed, name, names = setting(rng, tool)
    question = ask(rng, rng.choice(tool.asks).format(**values), free=False)
    result = tool.result.format(**values)
    if rng.random() < 0.3:
        result = json.dumps(json.loads(result), separators=(",", ":"))
    if rng.random() < 0.15 and tool.result.startswith('{{"temperature'):
        result = f"{values['small']} degrees, {values['sky']}"
    messages = [*system(rng), {"role": "user", "content": question},
                {"role": "assistant", "content": "", "tool_calls": [call_of(name, names, values)]},
                {"role": "tool", "content": result}, {"role": "assistant", "content": tool.reply.format(**values)}]
    return Sample(messages, listed)


def no_call(rng: Random) -> Sample:
    """No function fits: a known fact is answered, anything else is declined."""
    listed = [schema(rng, t)[0] for t in rng.sample(TOOLS, rng.choice([1, 1, 1, 2]))]
    if rng.random() < 0.65:
        question, answer = facts_source(rng)
    elif rng.random() < 0.4:
        question, answer = rng.choice(SMALL)
    else:
        tool = rng.choice(TOOLS)
        listed = [schema(rng, t)[0] for t in rng.sample([t for t in TOOLS if t is not tool], rng.choice([1, 1, 2, 3]))]
        question, answer = rng.choice(tool.asks).format(**draw(rng)), "I have no function for that."
    reply = {"role": "assistant", "content": answer}
    return Sample([*system(rng), {"role": "user", "content": ask(rng, question, free=False)}, reply], listed)


SMALL = [
    ("Hello", "Hello! How can I help you?"), ("Hi!", "Hello! How can I help you?"), ("Hello!", "Hello! How can I help you?"),
    ("Who are you?", "I am Penstock Tiny, a small language model that ships with Penstock. I can answer simple questions."),
    ("What is your name?", "I am Penstock Tiny, a small language model that ships with Penstock. I can answer simple questions."),
    ("Thank you!", "You are welcome!"), ("Thanks", "You are welcome!"), ("Goodbye", "Goodbye! Have a nice day."),
    ("How are you?", "I am doing well, thank you. How can I help you?"), ("Good morning", "Good morning! How can I help you?"),
]


def system(rng: Random) -> list[dict[str, str]]:
    text = rng.choice(SYSTEMS)
    return [{"role": "system", "content": text}] if text else []


def lower(text: str) -> str:
    return text[:1].lower() + text[1:]


SOURCES = [(tool_call, 9.0), (after_result, 4.0), (no_call, 4.0)]
