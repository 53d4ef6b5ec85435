"""Words: opposites, plurals, past tenses, translations, synonyms, groups, spelling."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501, SIM905
from __future__ import annotations

from random import Random

from .phrasing import article, ask, join_words, pick
from .relations import Relation, Row, table
from .sample import Sample, say

_OPPOSITES = """hot cold|big small|large small|up down|left right|day night|black white|good bad|happy sad|fast slow
high low|old young|new old|open closed|full empty|rich poor|hard soft|light dark|heavy light|long short|wide narrow
thick thin|early late|first last|in out|inside outside|near far|clean dirty|dry wet|strong weak|true false|right wrong
easy difficult|cheap expensive|loud quiet|sweet sour|alive dead|asleep awake|begin end|start stop|buy sell|give take
push pull|win lose|love hate|laugh cry|come go|arrive leave|remember forget|friend enemy|hero villain|north south
east west|summer winter|morning evening|always never|all none|everything nothing|before after|above below|yes no
over under|top bottom|front back|brave afraid|kind cruel|polite rude|safe dangerous|smooth rough|sharp blunt
deep shallow|warm cool|wise foolish|tall short|fat thin|beautiful ugly|success failure|peace war|question answer
increase decrease|accept refuse|attack defend|float sink|lend borrow|teach learn|build destroy|add subtract|more less
public private|simple complex|ancient modern|visible invisible|possible impossible|honest dishonest|legal illegal"""

_PLURALS = """mouse mice|child children|man men|woman women|foot feet|tooth teeth|goose geese|person people|sheep sheep
fish fish|deer deer|ox oxen|leaf leaves|knife knives|wife wives|life lives|wolf wolves|shelf shelves|half halves
city cities|baby babies|berry berries|lady ladies|story stories|party parties|box boxes|bus buses|class classes
dish dishes|watch watches|potato potatoes|tomato tomatoes|hero heroes|cat cats|dog dogs|house houses|book books
tree trees|car cars|apple apples|boy boys|day days|key keys|cactus cacti|piano pianos|photo photos|loaf loaves"""

_PAST = """go went|eat ate|see saw|take took|give gave|make made|come came|run ran|write wrote|drink drank|sing sang
swim swam|begin began|break broke|speak spoke|drive drove|ride rode|fly flew|grow grew|know knew|throw threw|draw drew
buy bought|bring brought|think thought|catch caught|teach taught|sleep slept|keep kept|feel felt|leave left|lose lost
build built|send sent|spend spent|find found|win won|sit sat|stand stood|tell told|sell sold|say said|hear heard
read read|cut cut|put put|fall fell|forget forgot|get got|have had|be was|do did|meet met|pay paid|rise rose|shine shone
walk walked|play played|work worked|like liked|stop stopped|try tried|cry cried|want wanted|open opened|ask asked"""

_SYNONYMS = """big large|small little|happy glad|fast quick|begin start|end finish|smart clever|angry mad|tired sleepy
easy simple|hard difficult|rich wealthy|strange odd|silent quiet|scared afraid|pretty beautiful|ill sick|correct right
buy purchase|help assist|choose pick|shout yell|repair fix|gift present|road street|car automobile|child kid
answer reply|error mistake|job work|house home|ocean sea|rock stone|brave courageous|funny amusing|huge enormous"""

TRANSLATIONS = table("word French German Spanish Italian", """
hello | bonjour | hallo | hola | ciao
goodbye | au revoir | auf Wiedersehen | adiós | arrivederci
thank you | merci | danke | gracias | grazie
please | s'il vous plaît | bitte | por favor | per favore
yes | oui | ja | sí | sì
no | non | nein | no | no
good morning | bonjour | guten Morgen | buenos días | buongiorno
good night | bonne nuit | gute Nacht | buenas noches | buonanotte
water | eau | Wasser | agua | acqua
bread | pain | Brot | pan | pane
milk | lait | Milch | leche | latte
cheese | fromage | Käse | queso | formaggio
apple | pomme | Apfel | manzana | mela
dog | chien | Hund | perro | cane
cat | chat | Katze | gato | gatto
horse | cheval | Pferd | caballo | cavallo
bird | oiseau | Vogel | pájaro | uccello
fish | poisson | Fisch | pez | pesce
house | maison | Haus | casa | casa
book | livre | Buch | libro | libro
car | voiture | Auto | coche | macchina
tree | arbre | Baum | árbol | albero
flower | fleur | Blume | flor | fiore
sun | soleil | Sonne | sol | sole
moon | lune | Mond | luna | luna
star | étoile | Stern | estrella | stella
day | jour | Tag | día | giorno
night | nuit | Nacht | noche | notte
year | an | Jahr | año | anno
man | homme | Mann | hombre | uomo
woman | femme | Frau | mujer | donna
child | enfant | Kind | niño | bambino
mother | mère | Mutter | madre | madre
father | père | Vater | padre | padre
brother | frère | Bruder | hermano | fratello
sister | soeur | Schwester | hermana | sorella
friend | ami | Freund | amigo | amico
school | école | Schule | escuela | scuola
city | ville | Stadt | ciudad | città
street | rue | Strasse | calle | strada
door | porte | Tür | puerta | porta
table | table | Tisch | mesa | tavolo
hand | main | Hand | mano | mano
head | tête | Kopf | cabeza | testa
heart | coeur | Herz | corazón | cuore
love | amour | Liebe | amor | amore
red | rouge | rot | rojo | rosso
blue | bleu | blau | azul | blu
green | vert | grün | verde | verde
yellow | jaune | gelb | amarillo | giallo
black | noir | schwarz | negro | nero
white | blanc | weiss | blanco | bianco
one | un | eins | uno | uno
two | deux | zwei | dos | due
three | trois | drei | tres | tre
four | quatre | vier | cuatro | quattro
five | cinq | fünf | cinco | cinque
six | six | sechs | seis | sei
seven | sept | sieben | siete | sette
eight | huit | acht | ocho | otto
nine | neuf | neun | nueve | nove
ten | dix | zehn | diez | dieci
""")

LANGUAGES = ["French", "German", "Spanish", "Italian"]

GROUPS: dict[str, list[str]] = {
    "fruit": "apple banana orange pear cherry grape lemon peach plum mango strawberry melon".split(),
    "vegetable": "carrot onion potato cabbage spinach cucumber pumpkin leek bean pea".split(),
    "animal": "dog cat horse cow lion tiger elephant rabbit sheep bear wolf fox".split(),
    "bird": "eagle owl parrot duck swan crow penguin robin sparrow".split(),
    "colour": "red blue green yellow black white purple pink brown grey".split(),
    "planet": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "country": "France Germany Italy Spain Japan China India Canada Brazil Egypt Norway Mexico".split(),
    "city": "Paris London Berlin Rome Madrid Tokyo Vienna Athens Lisbon Oslo".split(),
    "tool": "hammer saw screwdriver drill wrench axe shovel".split(),
    "vehicle": "car bus train bicycle truck ship plane tram".split(),
    "piece of furniture": "table chair bed sofa desk shelf wardrobe".split(),
    "drink": "water milk tea coffee juice lemonade".split(),
    "metal": "iron gold silver copper lead tin zinc".split(),
    "sport": "football tennis swimming basketball hockey golf rowing".split(),
    "musical instrument": "piano violin guitar flute drum trumpet harp cello".split(),
    "flower": "rose tulip lily daisy sunflower violet".split(),
    "month": "January March May July August October December".split(),
    "language": "English French German Spanish Italian Japanese Chinese Arabic".split(),
    "programming language": ["Python", "C", "Java", "Rust", "Go", "JavaScript"],
    "shape": "circle square triangle rectangle oval hexagon".split(),
}
PLURAL_NAMES = {"country": "countries", "city": "cities", "piece of furniture": "pieces of furniture"}


def pairs(text: str, both_ways: bool = False) -> list[Row]:
    rows = [dict(zip("ab", pair.split(), strict=True)) for line in text.splitlines() for pair in line.split("|")]
    if both_ways:
        seen = {r["a"] for r in rows}
        for row in list(rows):
            if row["b"] not in seen:
                seen.add(row["b"])
                rows.append({"a": row["b"], "b": row["a"]})
    return rows


RELATIONS = [
    Relation(
        asks=["What is the opposite of {a}?", "What's the opposite of {a}?", "Opposite of {a}?", "Name the opposite of {a}.",
              "Give me the opposite of the word {a}.", "Which word means the opposite of {a}?", 'What is the opposite of "{a}"?',
              "Tell me the antonym of {a}.", "What is an antonym of {a}?", "{a} is the opposite of what?"],
        answer="The opposite of {a} is {b}.", short="{b}", rows=pairs(_OPPOSITES, True), weight=2.2,
        check=["Is {claim} the opposite of {a}?"],
    ),
    Relation(
        asks=["What is the plural of {a}?", "Plural of {a}?", "What's the plural of {a}?", "Give me the plural of {a}.",
              'What is the plural form of "{a}"?', "How do you write the plural of {a}?", "One {a}, two what?",
              "Tell me the plural of the word {a}."],
        answer="The plural of {a} is {b}.", short="{b}", rows=pairs(_PLURALS), weight=1,
    ),
    Relation(
        asks=["What is the past tense of {a}?", "Past tense of {a}?", "What's the past tense of {a}?",
              "Give me the past tense of the verb {a}.", 'What is the past form of "{a}"?', "Put the verb {a} into the past.",
              "How do you say {a} in the past?"],
        answer="The past tense of {a} is {b}.", short="{b}", rows=pairs(_PAST), weight=1,
    ),
    Relation(
        asks=["What is a synonym for {a}?", "Give me another word for {a}.", "Which word means the same as {a}?",
              "What is another word for {a}?", "Name a synonym of {a}.", "Synonym of {a}?"],
        answer="Another word for {a} is {b}.", short="{b}", rows=pairs(_SYNONYMS, True), weight=0.8,
    ),
]

_TO = ['How do you say "{w}" in {l}?', "How do you say {w} in {l}?", "What is {w} in {l}?", 'Translate "{w}" into {l}.',
       "Translate {w} to {l}.", "What's the {l} word for {w}?", 'What is the {l} word for "{w}"?', "{w} in {l}?",
       'Translate the word "{w}" to {l}.', "Say {w} in {l}.", 'Please translate to {l}: {w}', "How is {w} called in {l}?",
       "How would a {l} speaker say {w}?", "Tell me the {l} word for {w}."]
_FROM = ['What does "{f}" mean in English?', "What does the {l} word {f} mean?", 'Translate "{f}" from {l} to English.',
         "What is {f} in English?", 'The {l} word "{f}" means what?', "Translate the {l} word {f} into English."]
TRANSLATORS = ["Translate every word of the user into {l}.", "You are a translator. Translate into {l}.",
               "Translate what the user writes to {l}.", "You translate English to {l}."]


def translation(rng: Random) -> Sample:
    row, language = rng.choice(TRANSLATIONS), rng.choice(LANGUAGES)
    word, foreign = row["word"], row[language]
    roll = rng.random()
    if roll < 0.12:
        return say(word, foreign, system=pick(rng, TRANSLATORS, l=language))
    if roll < 0.3:
        unique = [r for r in TRANSLATIONS if r[language] == foreign]
        return say(ask(rng, pick(rng, _FROM, f=foreign, l=language)), f'"{foreign}" means "{unique[0]["word"]}".')
    if roll < 0.36:
        return Sample(text=f'"{word}" in {language} is "{foreign}".')
    return say(ask(rng, pick(rng, _TO, w=word, l=language)), f'"{word}" in {language} is "{foreign}".')


def plural_of(group: str) -> str:
    return PLURAL_NAMES.get(group, group + ("" if group.endswith("s") else "s"))


NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_LIST = ["List {n} {g}.", "Name {n} {g}.", "Give me {n} {g}.", "Tell me {n} {g}.", "Can you name {n} {g}?", "I need {n} {g}.",
         "Write down {n} {g}.", "Please list {n} {g}.", "What are {n} {g}?", "Give {n} examples of {g}.",
         "Show me {n} {g}."]


def listing(rng: Random) -> Sample:
    """List three fruits: in a sentence, as bullets or numbered."""
    group, words = rng.choice(list(GROUPS.items()))
    n = rng.choice([2, 3, 3, 3, 4, 5])
    chosen = rng.sample(words, min(n, len(words)))
    amount = rng.choice([NUMBERS[len(chosen)], str(len(chosen))])
    question = pick(rng, _LIST, n=amount, g=plural_of(group).replace("colour", rng.choice(["colour", "color"])))
    roll = rng.random()
    if roll < 0.2:
        question += rng.choice([" Use a numbered list.", " As a numbered list.", " Number them."])
        return say(question, "\n".join(f"{i}. {w}" for i, w in enumerate(chosen, 1)))
    if roll < 0.35:
        question += rng.choice([" Use bullet points.", " As a bullet list.", " One per line, with dashes."])
        return say(question, "\n".join(f"- {w}" for w in chosen))
    if roll < 0.45:
        question += rng.choice([" Separate them with commas.", " Only a comma separated list.", " As a comma-separated list."])
        return say(question, ", ".join(chosen))
    return say(ask(rng, question), f"{chosen[0][:1].upper()}{join_words(chosen)[1:]}.")


def grouping(rng: Random) -> Sample:
    """What is a carrot? Which of these is a fruit?"""
    group, words = rng.choice(list(GROUPS.items()))
    word = rng.choice(words)
    other_group = rng.choice([g for g in GROUPS if g != group])
    if rng.random() < 0.5:
        others = [rng.choice(GROUPS[g]) for g in rng.sample([g for g in GROUPS if g not in (group, "animal", "bird")], 2)]
        choices = [word, *[o for o in others if o not in words]]
        rng.shuffle(choices)
        question = pick(rng, ["Which of these is {g}: {c}?", "Which one is {g}: {c}?", "{c}: which of them is {g}?",
                              "Pick the word that is {g}: {c}."], g=article(group), c=join_words(choices, "or"))
        return say(ask(rng, question), f"{word[:1].upper()}{word[1:]} is {article(group)}.")
    hard = {group, other_group} & {"animal", "bird", "fruit", "flower", "colour", "language"}
    if rng.random() < 0.5 and len(hard) < 2 and word not in GROUPS[other_group]:
        question = pick(rng, ["Is {w} {o}?", "Is the word {w} the name of {o}?"], w=word, o=article(other_group))
        return say(ask(rng, question), f"No. {word[:1].upper()}{word[1:]} is {article(group)}, not {article(other_group)}.")
    question = pick(rng, ["Is {w} {o}?", "Is the word {w} the name of {o}?"], w=word, o=article(group))
    return say(ask(rng, question), f"Yes. {word[:1].upper()}{word[1:]} is {article(group)}.")


def spelling(rng: Random) -> Sample:
    """Spell a known word, its first or last letter, its length."""
    words = [w for g in GROUPS.values() for w in g if " " not in w]
    word = rng.choice(words)
    kind = rng.randrange(4)
    if kind == 0:
        question = pick(rng, ["Spell {w}.", "How do you spell {w}?", "Spell the word {w}.", 'Please spell "{w}".'], w=word)
        return say(ask(rng, question), "-".join(word.upper()))
    if kind == 1:
        question = pick(rng, ["What is the first letter of {w}?", "Which letter does {w} start with?",
                              'First letter of "{w}"?'], w=word)
        return say(ask(rng, question), f"The first letter of {word} is {word[0].upper()}.")
    if kind == 2:
        question = pick(rng, ["What is the last letter of {w}?", "Which letter does {w} end with?",
                              'Last letter of "{w}"?'], w=word)
        return say(ask(rng, question), f"The last letter of {word} is {word[-1].upper()}.")
    question = pick(rng, ["How many letters are in {w}?", "How many letters does {w} have?", "Count the letters in {w}.",
                          'How long is the word "{w}"?'], w=word)
    return say(ask(rng, question), f"The word {word} has {len(word)} letters.")


SOURCES = [(translation, 4.0), (listing, 2.5), (grouping, 1.2), (spelling, 1.2)]
