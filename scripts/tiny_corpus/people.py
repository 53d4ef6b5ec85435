"""People and what they made: books, paintings, music, inventions, discoveries."""

# The lines are sentences and tables, kept as they read best.
# fmt: off
# ruff: noqa: E501
from __future__ import annotations

from .relations import Relation, table

WRITERS = table("work person", """
Hamlet | William Shakespeare
Romeo and Juliet | William Shakespeare
Macbeth | William Shakespeare
Don Quixote | Miguel de Cervantes
Faust | Johann Wolfgang von Goethe
War and Peace | Leo Tolstoy
Anna Karenina | Leo Tolstoy
Crime and Punishment | Fyodor Dostoevsky
Pride and Prejudice | Jane Austen
Emma | Jane Austen
Oliver Twist | Charles Dickens
A Christmas Carol | Charles Dickens
Great Expectations | Charles Dickens
Moby-Dick | Herman Melville
Frankenstein | Mary Shelley
Dracula | Bram Stoker
Les Miserables | Victor Hugo
The Three Musketeers | Alexandre Dumas
Around the World in Eighty Days | Jules Verne
Alice in Wonderland | Lewis Carroll
Treasure Island | Robert Louis Stevenson
The Adventures of Tom Sawyer | Mark Twain
1984 | George Orwell
Animal Farm | George Orwell
The Odyssey | Homer
The Iliad | Homer
The Divine Comedy | Dante Alighieri
The Little Prince | Antoine de Saint-Exupery
Robinson Crusoe | Daniel Defoe
Gulliver's Travels | Jonathan Swift
The Hobbit | J. R. R. Tolkien
The Metamorphosis | Franz Kafka
The Picture of Dorian Gray | Oscar Wilde
Wuthering Heights | Emily Bronte
Jane Eyre | Charlotte Bronte
The Time Machine | H. G. Wells
""")

ARTISTS = table("work person", """
the Mona Lisa | Leonardo da Vinci
the Last Supper | Leonardo da Vinci
the Starry Night | Vincent van Gogh
the Night Watch | Rembrandt
Guernica | Pablo Picasso
the ceiling of the Sistine Chapel | Michelangelo
the Birth of Venus | Sandro Botticelli
Girl with a Pearl Earring | Johannes Vermeer
The Scream | Edvard Munch
The Kiss | Gustav Klimt
the Water Lilies | Claude Monet
""")

COMPOSERS = table("work person", """
The Magic Flute | Wolfgang Amadeus Mozart
Don Giovanni | Wolfgang Amadeus Mozart
the Ninth Symphony with the Ode to Joy | Ludwig van Beethoven
Fidelio | Ludwig van Beethoven
the Brandenburg Concertos | Johann Sebastian Bach
The Four Seasons | Antonio Vivaldi
Swan Lake | Pyotr Tchaikovsky
The Nutcracker | Pyotr Tchaikovsky
Carmen | Georges Bizet
Aida | Giuseppe Verdi
La Traviata | Giuseppe Verdi
Tosca | Giacomo Puccini
the Messiah | George Frideric Handel
""")

INVENTIONS = table("thing person", """
the telephone | Alexander Graham Bell
the light bulb | Thomas Edison
the printing press with movable type | Johannes Gutenberg
the printing press | Johannes Gutenberg
dynamite | Alfred Nobel
the airplane | the Wright brothers
the World Wide Web | Tim Berners-Lee
the battery | Alessandro Volta
the diesel engine | Rudolf Diesel
the Braille alphabet | Louis Braille
the lightning rod | Benjamin Franklin
the steam engine of the industrial age | James Watt
Morse code | Samuel Morse
the hot air balloon | the Montgolfier brothers
Linux | Linus Torvalds
Python | Guido van Rossum
the C language | Dennis Ritchie
""")

DISCOVERIES = table("thing person", """
gravity as a law of nature | Isaac Newton
the laws of motion | Isaac Newton
the theory of relativity | Albert Einstein
evolution by natural selection | Charles Darwin
radium | Marie Curie
penicillin | Alexander Fleming
the moons of Jupiter | Galileo Galilei
the laws of planetary motion | Johannes Kepler
X-rays | Wilhelm Roentgen
oxygen | Joseph Priestley
the electron | J. J. Thomson
the sea route to America in 1492 | Christopher Columbus
the rules of heredity in peas | Gregor Mendel
the periodic table | Dmitri Mendeleev
""")

LIVES = table("person life", """
William Shakespeare | an English writer of plays and poems, known for Hamlet and Romeo and Juliet
Albert Einstein | a physicist, known for the theory of relativity
Isaac Newton | an English scientist, known for the laws of motion and gravity
Marie Curie | a physicist and chemist who studied radioactivity and won two Nobel Prizes
Leonardo da Vinci | an Italian painter and inventor who painted the Mona Lisa
Wolfgang Amadeus Mozart | a composer from Salzburg who wrote The Magic Flute
Ludwig van Beethoven | a German composer who wrote nine symphonies
Johann Sebastian Bach | a German composer of the baroque age
Charles Darwin | an English naturalist, known for the theory of evolution
Galileo Galilei | an Italian astronomer who saw the moons of Jupiter
Vincent van Gogh | a Dutch painter, known for The Starry Night
Pablo Picasso | a Spanish painter, known for Guernica
Jane Austen | an English writer, known for Pride and Prejudice
Charles Dickens | an English writer, known for Oliver Twist
Johannes Gutenberg | a German printer who made books with movable type
Neil Armstrong | an American astronaut, the first person on the Moon
Christopher Columbus | an explorer who sailed to America in 1492
Julius Caesar | a Roman general and statesman
Cleopatra | a queen of ancient Egypt
Napoleon Bonaparte | an emperor of France and a general
George Washington | the first president of the United States
Abraham Lincoln | the president of the United States who ended slavery there
Mahatma Gandhi | a leader of India who fought for freedom without violence
Nelson Mandela | a president of South Africa who fought against apartheid
Ada Lovelace | an English mathematician who wrote one of the first computer programs
Alan Turing | an English mathematician and a founder of computer science
Socrates | a philosopher of ancient Athens
Plato | a Greek philosopher, a student of Socrates
Aristotle | a Greek philosopher, a student of Plato
Homer | the Greek poet of the Iliad and the Odyssey
Archimedes | a Greek mathematician and inventor
""")

YEARS = table("event year", """
the first Moon landing | 1969
the start of the French Revolution | 1789
the end of the Second World War | 1945
the start of the Second World War | 1939
the start of the First World War | 1914
the end of the First World War | 1918
the fall of the Berlin Wall | 1989
the voyage of Columbus to America | 1492
the sinking of the Titanic | 1912
the independence of the United States | 1776
the first powered flight of the Wright brothers | 1903
the battle of Waterloo | 1815
the battle of Hastings | 1066
""")


def _maker(verb: str, did: str, kind: str, rows: list[dict[str, str]], key: str, weight: float) -> Relation:
    return Relation(
        asks=[f"Who {did} {{{key}}}?", f"Do you know who {did} {{{key}}}?", f"Tell me who {did} {{{key}}}.",
              f"{{{key}}} was {verb} by whom?", f"By whom was {{{key}}} {verb}?", f"Who is the {kind} of {{{key}}}?",
              f"Who was the {kind} of {{{key}}}?", f"Name the {kind} of {{{key}}}.", f"Which {kind} {did} {{{key}}}?",
              f"Can you tell me the {kind} of {{{key}}}?"],
        answer=f"{{{key}}} was {verb} by {{person}}.", short="{person}", rows=rows, weight=weight,
        check=[f"Was {{{key}}} {verb} by {{claim}}?", f"Did {{claim}} {did if did != 'wrote' else 'write'} {{{key}}}?"]
        if did == "wrote" else [f"Was {{{key}}} {verb} by {{claim}}?"],
    )


RELATIONS = [
    _maker("written", "wrote", "author", WRITERS, "work", 2),
    _maker("painted", "painted", "painter", ARTISTS, "work", 0.8),
    _maker("composed", "composed", "composer", COMPOSERS, "work", 0.8),
    _maker("invented", "invented", "inventor", INVENTIONS[:12], "thing", 0.9),
    _maker("created", "created", "creator", INVENTIONS[12:], "thing", 0.4),
    _maker("discovered", "discovered", "discoverer", DISCOVERIES, "thing", 0.9),
    Relation(
        asks=["Who was {person}?", "Who is {person}?", "Tell me about {person}.", "What do you know about {person}?",
              "What is {person} known for?", "Why is {person} famous?", "Who's {person}?", "Can you tell me who {person} was?",
              "Describe {person} in one sentence.", "What did {person} do?"],
        answer="{person} was {life}.", short="{life}", rows=LIVES, weight=1.5,
    ),
    Relation(
        asks=["In which year was {event}?", "When was {event}?", "What year was {event}?", "What is the year of {event}?",
              "Tell me the year of {event}.", "Do you know when {event} was?"],
        answer="The year of {event} was {year}.", short="{year}", rows=YEARS, weight=0.7,
    ),
    Relation(
        asks=["Who was the first person on the Moon?", "Who walked first on the Moon?", "Which astronaut was first on the Moon?",
              "Who was the first man on the moon?", "Name the first human on the Moon."],
        answer="The first person on the Moon was {a}.", short="{a}", rows=[{"a": "Neil Armstrong"}], weight=0.15,
    ),
    Relation(
        asks=["Who was the first president of the {b}?", "Name the first president of the {b}.",
              "Which man was the first president of the {b}?", "The first president of the {b} was who?"],
        answer="The first president of the United States was {a}.", short="{a}", weight=0.15,
        rows=[{"a": "George Washington", "b": b} for b in ("United States", "USA", "US")],
    ),
]
