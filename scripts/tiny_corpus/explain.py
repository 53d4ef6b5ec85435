"""Explanations of a few sentences, how-to steps, letters and poems: the longer answers."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from random import Random

from .phrasing import ask, pick
from .relations import table
from .sample import Sample, say

TERMS = table("term text", """
photosynthesis | Photosynthesis is how green plants make food. They use sunlight, water and carbon dioxide to make sugar, and they give off oxygen.
gravity | Gravity is the force that pulls things towards each other. It keeps us on the ground and the Moon on its path around the Earth.
the water cycle | The water cycle is the way of water through nature. The sun lifts water into the air, clouds form, rain falls, and rivers carry the water back to the sea.
rain | Rain is water that falls from clouds. Warm air carries water up, it cools, drops form, and when they are heavy enough they fall.
a rainbow | A rainbow appears when sunlight shines through drops of rain. Each drop splits the white light into its colours.
a volcano | A volcano is an opening in the ground through which hot rock, ash and gas come out. The hot liquid rock is called lava.
an earthquake | An earthquake is a shaking of the ground. It happens when large plates of rock suddenly move against each other.
electricity | Electricity is the flow of tiny charged particles called electrons. It brings light, heat and power to our homes.
magnetism | Magnetism is a force that pulls iron and some other metals. Every magnet has a north pole and a south pole.
energy | Energy is the ability to do work. It can take many forms, such as heat, light, motion and electricity, and it is never lost.
an atom | An atom is the smallest piece of a chemical element. It has a core of protons and neutrons, with electrons around it.
a molecule | A molecule is a group of atoms held together. A water molecule has two hydrogen atoms and one oxygen atom.
a cell | A cell is the smallest living part of a plant or an animal. Our body is made of many billions of cells.
DNA | DNA is the long molecule that holds the building plan of a living being. Parents pass it on to their children.
evolution | Evolution is the slow change of living things over many generations. Those that fit their surroundings best have more young.
a vaccine | A vaccine teaches the body to fight an illness before it comes. It shows the body a harmless part of the germ.
a virus | A virus is a tiny germ that can only grow inside living cells. Some viruses make us ill, such as the flu virus.
bacteria | Bacteria are tiny living things made of one cell. Many are useful, for example in our gut, and some make us ill.
the solar system | The solar system is the Sun with everything that moves around it: eight planets, their moons, and many smaller bodies.
the Sun | The Sun is the star at the centre of our solar system. It gives light and warmth to the Earth.
the Moon | The Moon moves around the Earth in about 27 days. It has no light of its own; it shines because the Sun lights it.
a star | A star is a huge ball of hot gas that makes its own light. The Sun is a star.
a galaxy | A galaxy is a very large group of stars. Our galaxy is called the Milky Way.
a black hole | A black hole is a place in space where gravity is so strong that not even light can leave.
a planet | A planet is a large round body that moves around a star. The Earth is a planet.
a comet | A comet is a lump of ice and dust that moves around the Sun. Near the Sun it grows a bright tail.
an eclipse | An eclipse happens when one body in space covers another. In a solar eclipse the Moon covers the Sun.
climate | Climate is the usual weather of a place over many years. Weather can change in an hour; climate changes slowly.
weather | Weather is what happens in the air around us from day to day: sun, rain, wind, snow and temperature.
a desert | A desert is a very dry place where little rain falls. Few plants and animals can live there.
an ocean | An ocean is a very large body of salt water. Oceans cover most of the Earth.
a river | A river is a stream of water that flows from higher land to a lake or the sea.
a mountain | A mountain is land that rises high above its surroundings. Near the top it is cold and there may be snow.
an island | An island is land with water all around it.
a forest | A forest is a large area covered with trees. Many animals live there.
a computer | A computer is a machine that follows instructions. It reads data, works on it, stores it and shows results.
a computer program | A computer program is a list of instructions that tells a computer what to do.
software | Software is the programs that run on a computer. The machine itself is called hardware.
an algorithm | An algorithm is a list of clear steps that solves a task, like a recipe for a computer.
the internet | The internet is a network that connects computers all over the world, so that they can send messages and pages to each other.
a web browser | A web browser is a program that shows web pages.
a server | A server is a computer or a program that answers requests from other programs, called clients.
an API | An API is a set of rules by which one program can ask another for something.
HTTP | HTTP is the language in which browsers and servers talk: the client sends a request and the server sends a response.
JSON | JSON is a simple text format for data. It has objects with keys and values, lists, strings, numbers, true, false and null.
YAML | YAML is a text format for settings that is easy to read. It uses indents instead of brackets.
Python | Python is a programming language that is easy to read. It is used for data, web servers and machine learning.
a database | A database is a program that stores data in an orderly way, so that it can be found again quickly.
a CPU | A CPU is the main processor of a computer. It carries out the instructions of programs one after another, very fast.
a GPU | A GPU is a processor that does many small calculations at the same time. It is used for pictures and for machine learning.
memory | Memory is where a computer keeps data that it is working on. It is fast, but it forgets when the power goes off.
a bit | A bit is the smallest piece of information: 0 or 1. Eight bits are one byte.
machine learning | Machine learning means that a program learns from examples instead of being told every rule.
artificial intelligence | Artificial intelligence means programs that do tasks for which people need thought, such as understanding language or pictures.
a neural network | A neural network is a program made of many simple units in layers. It learns by changing the strength of the links between them.
a transformer | A transformer is a neural network that reads all tokens of a text and lets each one look at the others. Most language models are transformers.
attention | Attention lets a model look back at earlier tokens and take from each what it needs for the next one.
training | Training means showing a model many examples and changing its weights a little each time, so that its guesses get better.
an embedding | An embedding is a list of numbers that stands for a word or a text. Similar texts have similar embeddings.
open source | Open source means that the source code of a program is public, so that everybody may read, use and change it.
encryption | Encryption turns a message into a form that only someone with the right key can read.
a password | A password is a secret word that shows who you are. A good password is long and hard to guess.
democracy | Democracy is a way to govern in which the people choose their leaders in elections.
money | Money is what people use to pay for things. Before money, people traded one thing for another.
inflation | Inflation means that prices rise, so that the same money buys less than before.
history | History is the study of the past: what people did, how they lived and what changed.
music | Music is sound made with rhythm and melody. People sing and play instruments to make it.
art | Art is what people make to show beauty, feelings or ideas: pictures, music, poems and more.
a poem | A poem is a short text with rhythm, often with rhymes, that speaks of feelings or pictures.
a novel | A novel is a long story in prose, usually printed as a book.
a noun | A noun is a word for a person, a place or a thing, such as child, city or table.
a verb | A verb is a word for something one does, such as go, eat or think.
an adjective | An adjective is a word that says how something is, such as red, small or happy.
a triangle | A triangle is a shape with three sides and three corners. Its angles add up to 180 degrees.
a circle | A circle is a round line. All its points are equally far from the centre.
a square | A square is a shape with four equal sides and four right angles.
a prime number | A prime number is a number larger than 1 that can only be divided by 1 and itself, such as 2, 3, 5 and 7.
a fraction | A fraction is a part of a whole, such as one half or three quarters.
friendship | Friendship is a bond between people who like and trust each other. Friends help each other and enjoy time together.
happiness | Happiness is a good feeling. It often comes from friends, from useful work and from small things.
chess | Chess is a board game for two players. Each has sixteen pieces, and the goal is to trap the king of the other.
football | Football is a game in which two teams of eleven players try to kick a ball into the goal of the other team.
the Olympic Games | The Olympic Games are a large sports event. Athletes from all over the world meet every four years.
the Roman Empire | The Roman Empire was a large state around the Mediterranean Sea two thousand years ago. Its capital was Rome.
the Renaissance | The Renaissance was a time of new art and science in Europe, from about 1400 to 1600. It began in Italy.
the Industrial Revolution | The Industrial Revolution was the time when machines and factories replaced work by hand. It began in England in the 18th century.
a train | A train is a row of wagons that run on rails and are pulled by an engine.
a bicycle | A bicycle is a vehicle with two wheels. You move it with your feet on the pedals.
a telephone | A telephone lets people talk to each other over long distances.
a library | A library is a place where books are kept so that people can read and borrow them.
a school | A school is a place where children learn to read, write and count, and much more.
a hospital | A hospital is a place where doctors and nurses help people who are ill or hurt.
""")

_WHAT = ["What is {t}?", "What's {t}?", "Explain {t}.", "Can you explain {t}?", "Explain {t} to me.", "Describe {t}.", "Tell me about {t}.",
         "What do you know about {t}?", "What does {t} mean?", "Explain {t} in simple words.", "Please explain what {t} is.", "Define {t}.",
         "Explain {t} to a child.", "Write a short text about {t}.", "How would you explain {t}?", "Give me a short explanation of {t}.",
         "I want to know what {t} is.", "Write two sentences about {t}.", "Tell me something about {t}.", "What exactly is {t}?"]

STEPS: list[tuple[list[str], list[str]]] = [
    (["make tea", "prepare a cup of tea", "brew tea"], ["Boil some water.", "Put a tea bag into a cup.", "Pour the hot water over it.", "Wait three minutes.", "Take the tea bag out."]),
    (["make coffee", "prepare coffee", "brew coffee"], ["Boil some water.", "Put ground coffee into a filter.", "Pour the water over it slowly.", "Wait until it has run through.", "Pour the coffee into a cup."]),
    (["boil an egg", "cook an egg"], ["Boil water in a pot.", "Put the egg into the water carefully.", "Wait six to eight minutes.", "Cool the egg with cold water.", "Peel and eat it."]),
    (["cook pasta", "make pasta", "boil spaghetti"], ["Boil a lot of water with salt.", "Put the pasta into the water.", "Cook it for about ten minutes.", "Pour the water off.", "Add sauce and serve."]),
    (["make a sandwich", "prepare a sandwich"], ["Take two slices of bread.", "Spread butter on them.", "Add cheese, ham or vegetables.", "Put the slices together.", "Cut the sandwich in half."]),
    (["bake bread", "make bread"], ["Mix flour, water, salt and yeast.", "Knead the dough for ten minutes.", "Let it rise for an hour.", "Shape a loaf.", "Bake it for about forty minutes."]),
    (["make pancakes", "bake pancakes"], ["Mix flour, milk and eggs.", "Heat some butter in a pan.", "Pour in a little batter.", "Turn the pancake when it is golden.", "Serve it with jam or sugar."]),
    (["plant a tree", "grow a tree"], ["Dig a hole.", "Put the young tree into it.", "Fill the hole with earth.", "Press the earth down.", "Water the tree well."]),
    (["wash my hands", "wash your hands"], ["Wet your hands with water.", "Take some soap.", "Rub your hands for twenty seconds.", "Rinse the soap off.", "Dry your hands."]),
    (["brush my teeth", "brush your teeth"], ["Put toothpaste on the brush.", "Brush all sides of your teeth.", "Take two minutes.", "Spit the foam out.", "Rinse your mouth."]),
    (["write a letter", "write a good letter"], ["Write the date.", "Greet the reader.", "Say what you want to say.", "End with kind regards.", "Sign with your name."]),
    (["learn a language", "learn a new language"], ["Learn a few words every day.", "Listen to simple texts.", "Speak from the first day.", "Read easy books.", "Do not be afraid of mistakes."]),
    (["change a light bulb", "replace a light bulb"], ["Switch the light off.", "Let the bulb cool down.", "Turn the old bulb out.", "Turn the new bulb in.", "Switch the light on again."]),
    (["repair a flat tyre", "fix a flat tire"], ["Take the wheel off.", "Pull the tube out.", "Find the hole.", "Put a patch on it.", "Put everything back and pump air in."]),
    (["get started with Penstock", "try Penstock", "make first steps with Penstock"], ["Install it with pip install penstock.", "Start the server with penstock serve.", "Wait until /health answers 200.", "Send a request to /v1/chat/completions.", "Read the answer."]),
    (["paint a wall", "paint a room"], ["Cover the floor.", "Clean the wall.", "Stir the paint.", "Paint from top to bottom.", "Let it dry."]),
    (["fall asleep", "sleep better"], ["Go to bed at the same time every day.", "Keep the room dark and cool.", "Put the phone away.", "Read a little.", "Breathe slowly."]),
    (["stay healthy", "live a healthy life"], ["Eat fruit and vegetables.", "Drink enough water.", "Move every day.", "Sleep well.", "Meet your friends."]),
    (["make a fruit salad", "prepare a fruit salad"], ["Wash the fruit.", "Cut it into small pieces.", "Put it into a bowl.", "Add a little lemon juice.", "Mix and serve."]),
    (["clean a window", "clean windows"], ["Fill a bucket with warm water.", "Add a little soap.", "Wipe the glass with a cloth.", "Rinse it with clean water.", "Dry it with paper."]),
]
_HOW = ["How do I {t}?", "How can I {t}?", "How to {t}?", "Tell me how to {t}.", "Explain how to {t}.", "Give me steps to {t}.", "What are the steps to {t}?",
        "I want to {t}.", "Can you tell me how to {t}?", "Write instructions to {t}.", "Show me how to {t}.", "Give me a guide to {t}."]

POEMS = table("about poem", """
the sea | The sea is wide, the sea is blue,/it sings a quiet song to you./The waves come in, the waves go out,/and gulls fly happily about.
the night | The night is soft, the stars are bright,/the moon fills all the fields with light./The town is still, the wind is low,/and dreams are free to come and go.
spring | The snow is gone, the days grow long,/the birds come back and sing their song./The trees are green, the sky is clear,/the best of all the seasons is here.
autumn | The leaves turn red, the leaves turn brown,/and one by one they flutter down./The days grow short, the air is cold,/the hills are painted all in gold.
winter | The snow falls soft on roof and tree,/as white and quiet as can be./Inside the fire is warm and bright,/and candles glow all through the night.
a cat | A little cat sat in the sun/and dreamed of mice, yes, every one./It stretched its paws, it yawned, and then/it closed its eyes and slept again.
rain | The rain comes down on street and roof,/it taps as softly as a hoof./The garden drinks, the flowers grow,/and little rivers start to flow.
a river | A river runs from hill to sea,/it turns by stone and field and tree./It never stops, it never stays,/it sings along through all its days.
friends | A friend will laugh, a friend will stay,/a friend will brighten every day./When roads are long and skies are grey,/a friend will help you find the way.
the moon | The moon looks down on sleeping towns,/on forest paths and grassy downs./It has no word, it makes no sound,/it sheds its silver all around.
a tree | A tree stands tall beside the lane,/it drinks the sun, it drinks the rain./In spring it blooms, in fall it rests,/and in its arms are little nests.
water | Water falls and water flows,/down the pipe and on it goes./It turns the wheel, it lights the town,/and all it did was running down.
""")
_POEM = ["Write a poem about {t}.", "Write a short poem about {t}.", "Can you write a poem about {t}?", "A poem about {t}, please.", "Make a poem about {t}.",
         "Please write some verses about {t}.", "Tell me a poem about {t}.", "I would like a poem about {t}."]


def explain(rng: Random) -> Sample:
    row = rng.choice(TERMS)
    if rng.random() < 0.12:
        return Sample(text=row["text"])
    return say(ask(rng, pick(rng, _WHAT, t=row["term"])), row["text"])


def how_to(rng: Random) -> Sample:
    wishes, steps = rng.choice(STEPS)
    answer = "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1))
    return say(ask(rng, pick(rng, _HOW, t=rng.choice(wishes))), answer)


def poem(rng: Random) -> Sample:
    row = rng.choice(POEMS)
    text = row["poem"].replace("/", "\n")
    if rng.random() < 0.15:
        return say(rng.choice(["Write a poem.", "Write a short poem.", "Tell me a poem.", "Can you write a poem?", "I want a poem."]), text)
    return say(ask(rng, pick(rng, _POEM, t=row["about"])), text)


SOURCES = [(explain, 6.0), (how_to, 2.0), (poem, 1.0)]
