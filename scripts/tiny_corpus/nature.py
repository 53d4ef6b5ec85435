"""Nature: chemical elements, planets, animals, colours of things."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from .relations import Relation, table

ELEMENTS = table("name symbol number", """
hydrogen | H | 1
helium | He | 2
carbon | C | 6
nitrogen | N | 7
oxygen | O | 8
sodium | Na | 11
iron | Fe | 26
copper | Cu | 29
silver | Ag | 47
gold | Au | 79
lead | Pb | 82
mercury | Hg | 80
calcium | Ca | 20
potassium | K | 19
chlorine | Cl | 17
aluminium | Al | 13
silicon | Si | 14
sulfur | S | 16
tin | Sn | 50
zinc | Zn | 30
lithium | Li | 3
beryllium | Be | 4
boron | B | 5
fluorine | F | 9
neon | Ne | 10
magnesium | Mg | 12
phosphorus | P | 15
argon | Ar | 18
titanium | Ti | 22
chromium | Cr | 24
manganese | Mn | 25
cobalt | Co | 27
nickel | Ni | 28
arsenic | As | 33
bromine | Br | 35
krypton | Kr | 36
iodine | I | 53
xenon | Xe | 54
tungsten | W | 74
platinum | Pt | 78
radon | Rn | 86
radium | Ra | 88
uranium | U | 92
plutonium | Pu | 94
""")

PLANETS = table("planet place fact", """
Mercury | first | Mercury is the planet closest to the Sun and the smallest one
Venus | second | Venus is the hottest planet, wrapped in thick clouds
Earth | third | Earth is our home and the only planet known to have life
Mars | fourth | Mars is called the red planet because of the rust in its soil
Jupiter | fifth | Jupiter is the largest planet, a giant made of gas
Saturn | sixth | Saturn is a gas giant known for its bright rings
Uranus | seventh | Uranus is a cold giant that spins lying on its side
Neptune | eighth | Neptune is the planet farthest from the Sun, cold and windy
""")

ANIMALS = table("animal sound young kind legs food home", """
dog | bark | puppy | mammal | 4 | meat | in a house or kennel
cat | meow | kitten | mammal | 4 | meat and fish | in a house
cow | moo | calf | mammal | 4 | grass | on a farm
horse | neigh | foal | mammal | 4 | grass and hay | in a stable
sheep | bleat | lamb | mammal | 4 | grass | on a farm
pig | oink | piglet | mammal | 4 | almost anything | on a farm
goat | bleat | kid | mammal | 4 | grass and leaves | on a farm
duck | quack | duckling | bird | 2 | plants and insects | near water
hen | cluck | chick | bird | 2 | seeds and insects | on a farm
lion | roar | cub | mammal | 4 | meat | in the savanna of Africa
tiger | roar | cub | mammal | 4 | meat | in the forests of Asia
bear | growl | cub | mammal | 4 | fish, berries and honey | in the forest
wolf | howl | pup | mammal | 4 | meat | in the forest
elephant | trumpet | calf | mammal | 4 | plants | in Africa and Asia
mouse | squeak | pup | mammal | 4 | seeds | in fields and houses
frog | croak | tadpole | amphibian | 4 | insects | near ponds
owl | hoot | owlet | bird | 2 | mice | in the forest
bee | buzz | larva | insect | 6 | nectar | in a hive
snake | hiss | snakelet | reptile | 0 | mice and other small animals | in forests and deserts
donkey | bray | foal | mammal | 4 | grass and hay | on a farm
""")

MORE_KINDS = table("animal kind legs food home", """
whale | mammal | 0 | tiny sea animals | in the ocean
dolphin | mammal | 0 | fish | in the ocean
bat | mammal | 2 | insects and fruit | in caves
shark | fish | 0 | fish | in the ocean
salmon | fish | 0 | small fish and insects | in rivers and the ocean
eagle | bird | 2 | meat | in the mountains
penguin | bird | 2 | fish | in the cold south
parrot | bird | 2 | seeds and fruit | in warm forests
spider | arachnid | 8 | insects | in a web
ant | insect | 6 | almost anything | in an anthill
butterfly | insect | 6 | nectar | in gardens and meadows
crocodile | reptile | 4 | meat | in warm rivers
turtle | reptile | 4 | plants and small animals | in water and on land
lizard | reptile | 4 | insects | in warm dry places
rabbit | mammal | 4 | grass and carrots | in a burrow
giraffe | mammal | 4 | leaves | in the savanna of Africa
monkey | mammal | 4 | fruit | in warm forests
panda | mammal | 4 | bamboo | in the mountains of China
camel | mammal | 4 | dry plants | in the desert
kangaroo | mammal | 4 | grass | in Australia
fox | mammal | 4 | mice and berries | in the forest
squirrel | mammal | 4 | nuts | in trees
octopus | mollusc | 8 | crabs | in the ocean
""")

COLOURS = table("thing colour", """
the sky | blue
grass | green
snow | white
blood | red
a banana | yellow
a lemon | yellow
the sun | yellow
coal | black
the night | black
milk | white
a tomato | red
a strawberry | red
a cherry | red
a carrot | orange
a pumpkin | orange
an orange | orange
chocolate | brown
wood | brown
an elephant | grey
the sea | blue
the ocean | blue
a frog | green
a leaf | green
a cucumber | green
a fire engine | red
a lime | green
cheese | yellow
a polar bear | white
a flamingo | pink
a ripe plum | purple
an aubergine | purple
a cloud | white
a crow | black
a mouse | grey
sand | yellow
a fox | red
a swan | white
spinach | green
""")

MIXES = table("a b c", """
red | blue | purple
blue | yellow | green
red | yellow | orange
red | white | pink
black | white | grey
red | green | brown
yellow | blue | green
blue | red | purple
yellow | red | orange
white | red | pink
white | black | grey
""")

_ALL = ANIMALS + MORE_KINDS

RELATIONS = [
    Relation(
        asks=["What is the chemical symbol for {name}?", "What is the symbol of {name}?", "What's the symbol for {name}?",
              "Which symbol does {name} have?", "Give me the chemical symbol of {name}.", "How is {name} written in chemistry?",
              "What is the abbreviation for {name} in the periodic table?", "Chemical symbol of {name}?",
              "Tell me the symbol of the element {name}.", "Symbol for {name}?"],
        answer="The chemical symbol for {name} is {symbol}.", short="{symbol}", rows=ELEMENTS, weight=2, head=20,
        check=["Is {claim} the symbol for {name}?", "Is the chemical symbol of {name} {claim}?"],
    ),
    Relation(
        asks=["Which element has the symbol {symbol}?", "What element is {symbol}?", "What does {symbol} stand for in chemistry?",
              "{symbol} is the symbol of which element?", "Which chemical element is written {symbol}?",
              "What is {symbol} in the periodic table?"],
        answer="{symbol} is the symbol for {name}.", short="{name}", rows=ELEMENTS, weight=0.6, head=20,
    ),
    Relation(
        asks=["What is the atomic number of {name}?", "Which atomic number does {name} have?", "Atomic number of {name}?",
              "How many protons does {name} have?", "Tell me the atomic number of {name}.",
              "What number is {name} in the periodic table?"],
        answer="The atomic number of {name} is {number}.", short="{number}", rows=ELEMENTS, weight=0.6, head=20,
        check=["Is {claim} the atomic number of {name}?"],
    ),
    Relation(
        asks=["Which planet is {place} from the Sun?", "What is the {place} planet from the Sun?",
              "Name the {place} planet of the solar system.", "Which is the {place} planet?", "What is the {place} planet?"],
        answer="The {place} planet from the Sun is {planet}.", short="{planet}", rows=PLANETS, weight=0.7,
    ),
    Relation(
        asks=["What is {planet}?", "Tell me about {planet}.", "What do you know about {planet}?", "Describe {planet}.",
              "Tell me something about the planet {planet}.", "What is special about {planet}?",
              "Can you tell me about {planet}?"],
        answer="{fact}. It is the {place} planet from the Sun.", short="a planet", rows=PLANETS, weight=0.7,
    ),
    Relation(
        asks=["What sound does a {animal} make?", "What does a {animal} say?", "How does a {animal} sound?",
              "Which sound do {animal}s make?", "What noise does a {animal} make?", "What is the sound of a {animal}?"],
        answer="A {animal} makes the sound {sound}.", short="{sound}", rows=ANIMALS, weight=0.8,
    ),
    Relation(
        asks=["What is a baby {animal} called?", "What do you call a young {animal}?", "What's the name for a baby {animal}?",
              "How do we call a young {animal}?", "What is the young of a {animal} called?", "Baby {animal}?"],
        answer="A baby {animal} is called a {young}.", short="{young}", rows=ANIMALS, weight=0.8,
        check=["Is a baby {animal} called a {claim}?"],
    ),
    Relation(
        asks=["Is a {animal} a mammal, a bird, a fish or something else?", "What kind of animal is a {animal}?",
              "Which class of animals does the {animal} belong to?", "What type of animal is a {animal}?",
              "What is a {animal}?", "A {animal} is what kind of animal?"],
        answer="A {animal} is a {kind}.", short="{kind}", weight=1, check=["Is a {animal} a {claim}?"],
        rows=[r for r in _ALL if r["kind"][0] not in "ai" and r["animal"][0] not in "aeo"],
    ),
    Relation(
        asks=["How many legs does a {animal} have?", "How many legs has a {animal}?", "What number of legs does a {animal} have?",
              "Count the legs of a {animal}.", "Tell me how many legs a {animal} has."],
        answer="A {animal} has {legs} legs.", short="{legs}", weight=0.7,
        rows=[r for r in _ALL if r["animal"][0] not in "aeo"],
    ),
    Relation(
        asks=["What does a {animal} eat?", "What do {animal}s eat?", "What is the food of a {animal}?",
              "What does a {animal} like to eat?", "What do you feed a {animal}?"],
        answer="A {animal} eats {food}.", short="{food}", weight=0.7,
        rows=[r for r in _ALL if r["animal"][0] not in "aeo"],
    ),
    Relation(
        asks=["Where does a {animal} live?", "Where do {animal}s live?", "What is the home of a {animal}?",
              "Where can you find a {animal}?", "In which place does a {animal} live?"],
        answer="A {animal} lives {home}.", short="{home}", weight=0.7,
        rows=[r for r in _ALL if r["animal"][0] not in "aeo"],
    ),
    Relation(
        asks=["What colour is {thing}?", "What color is {thing}?", "Which colour does {thing} have?",
              "What is the colour of {thing}?", "What is the color of {thing}?", "Tell me the colour of {thing}.",
              "Which color is {thing}?", "Name the color of {thing}."],
        answer="{thing} is {colour}.", short="{colour}", rows=COLOURS, weight=1.3,
        check=["Is {thing} {claim}?"],
    ),
    Relation(
        asks=["What colour do you get when you mix {a} and {b}?", "Which color do {a} and {b} make?",
              "What do {a} and {b} make together?", "Mix {a} and {b}: which colour is it?",
              "If I mix {a} paint with {b} paint, what color do I get?", "What is {a} plus {b} as a colour?"],
        answer="{a} and {b} make {c}.", short="{c}", rows=MIXES, weight=0.5,
    ),
]
