"""What the generated passages say and ask: kinds of things, their relations and the ways to put them."""

from __future__ import annotations

__all__ = ["KINDS", "RELATIONS", "Kind", "Relation"]

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of thing that passages are about.

    Attributes:
      noun: what a later sentence calls it, such as "the town".
      pronoun: likewise.
      possessive: likewise.
      openings: sentences that name it, with ``{name}``.
      fillers: sentences that say nothing that is asked, with ``{it}``.
    """

    noun: str
    pronoun: str
    possessive: str
    openings: tuple[str, ...]
    fillers: tuple[str, ...]


class Relation(NamedTuple):
    """What things of a kind have.

    Attributes:
      kind: the kind of thing.
      value: what it is: the name of something, ``"year"`` or a unit.
      questions: ways to ask for it, with ``{name}``; the last two are kept for the test split.
      statements: ways to tell it, with ``{it}`` or ``{its}``, and ``{value}``; the last two are kept
        for the test split.
    """

    kind: str
    value: str
    questions: tuple[str, ...]
    statements: tuple[str, ...]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "person": Kind(
            "she",
            "she",
            "her",
            (
                "{name} is remembered by few people today.",
                "Among the people of that time was {name}, who wrote many letters.",
                "Little is known about the early life of {name}.",
            ),
            (
                "{it} had two brothers and liked long walks.",
                "{it} lived in a small house near the old market for many years.",
                "For a while {it} gave up all work because of bad health.",
            ),
        ),
        "town": Kind(
            "the town",
            "it",
            "its",
            (
                "{name} lies in a wide valley in the north of the country.",
                "Travellers often pass through {name} on the way to the coast.",
                "The old walls of {name} can be seen from far away.",
            ),
            (
                "{it} has a small museum and three schools.",
                "A market is held there every Saturday, and many farmers come to sell fruit.",
                "{it} was damaged by fire more than once.",
            ),
        ),
        "ship": Kind(
            "the ship",
            "it",
            "its",
            (
                "The {name} crossed the ocean many times.",
                "Sailors told many stories about the {name}.",
                "The {name} was one of the fastest vessels of that time.",
            ),
            (
                "{it} carried wool, tea and other goods.",
                "In bad weather {it} lost a mast but came back safely.",
                "A model of {it} is shown in a museum.",
            ),
        ),
        "river": Kind(
            "the river",
            "it",
            "its",
            (
                "The {name} flows through forests and fields.",
                "Many villages stand on the banks of the {name}.",
                "The water of the {name} is clear and cold.",
            ),
            (
                "{it} freezes in hard winters.",
                "Several old bridges cross {it}, and people fish there in summer.",
                "{it} is known for many kinds of birds.",
            ),
        ),
        "company": Kind(
            "the company",
            "it",
            "its",
            (
                "{name} has been in business for a long time.",
                "Many families in the region worked for {name}.",
                "{name} began in a single room above a bakery.",
            ),
            (
                "{it} survived several hard years and a great fire.",
                "Most of the workers stay with {it} for a long time.",
                "{it} gives money to schools and to a small theatre.",
            ),
        ),
    }
)
"""Every kind of thing by name."""

RELATIONS: tuple[Relation, ...] = (
    Relation(
        "person",
        "town",
        (
            "Where was {name} born?",
            "In which town was {name} born?",
            "What is the birthplace of {name}?",
            "Which town is the birthplace of {name}?",
            "What town was {name} born in?",
            "The birthplace of {name} is which town?",
        ),
        (
            "{it} was born in {value}.",
            "{its} birthplace was {value}, a place that few people know.",
            "{it} was born to poor parents in {value}.",
            "{value} was {its} birthplace.",
            "{its} birthplace is {value}.",
            "In {value}, {it} was born as the third child.",
        ),
    ),
    Relation(
        "person",
        "year",
        (
            "When did {name} die?",
            "In what year did {name} die?",
            "What was the year of the death of {name}?",
            "Which year did {name} die in?",
            "When was the death of {name}?",
            "{name} died in which year?",
        ),
        (
            "{it} died in {value}.",
            "{it} died after a long illness in {value}.",
            "The year of {its} death was {value}.",
            "{its} death came in the winter of {value}.",
            "In {value} {it} died.",
            "{its} death was in the year {value}.",
        ),
    ),
    Relation(
        "person",
        "person",
        (
            "Who was the teacher of {name}?",
            "Who taught {name}?",
            "By whom was {name} taught?",
            "What was the name of the teacher of {name}?",
            "{name} was taught by whom?",
            "Which teacher taught {name}?",
        ),
        (
            "{it} was taught by {value}.",
            "{its} teacher was {value}, whose lessons were strict.",
            "{value} taught {it} at school.",
            "The teacher who shaped {it} most was {value}.",
            "{value} was {its} teacher.",
            "At school {it} was taught by {value}.",
        ),
    ),
    Relation(
        "town",
        "person",
        (
            "Who is the mayor of {name}?",
            "What is the name of the mayor of {name}?",
            "Which person is mayor of {name}?",
            "Who was elected mayor of {name}?",
            "The mayor of {name} is who?",
            "Which mayor does {name} have?",
        ),
        (
            "{its} mayor is {value}.",
            "{value} is the mayor of {it}.",
            "The mayor, {value}, was elected twice.",
            "{value} was elected mayor last spring.",
            "The people elected {value} as mayor.",
            "The mayor of {it} is {value}.",
        ),
    ),
    Relation(
        "town",
        "people",
        (
            "How many people live in {name}?",
            "What is the population of {name}?",
            "How many inhabitants does {name} have?",
            "How large is the population of {name}?",
            "What number of inhabitants does {name} have?",
            "{name} has how many inhabitants?",
        ),
        (
            "{it} has {value} inhabitants.",
            "About {value} people live there.",
            "The population is {value}.",
            "{its} population has grown to {value}.",
            "{value} people live in {it}.",
            "There are {value} inhabitants.",
        ),
    ),
    Relation(
        "town",
        "river",
        (
            "Which river flows through {name}?",
            "On which river is {name}?",
            "What is the river that flows through {name} called?",
            "What is the name of the river of {name}?",
            "Through {name} flows which river?",
            "What river is {name} on?",
        ),
        (
            "The river {value} flows through {it}.",
            "{it} stands on the river {value}.",
            "The river there is called the {value}.",
            "Through the middle flows the {value}.",
            "{its} river is the {value}.",
            "The {value}, a river, flows by.",
        ),
    ),
    Relation(
        "ship",
        "person",
        (
            "Who was the captain of the {name}?",
            "Who commanded the {name}?",
            "What was the name of the captain of the {name}?",
            "Which captain commanded the {name}?",
            "By which captain was the {name} commanded?",
            "The {name} was commanded by whom?",
        ),
        (
            "{its} captain was {value}.",
            "{it} was commanded by {value}.",
            "{value} commanded {it} for ten years.",
            "The last captain was {value}, an honest man.",
            "{value} was {its} captain.",
            "Captain {value} commanded {it}.",
        ),
    ),
    Relation(
        "ship",
        "year",
        (
            "When was the {name} built?",
            "In what year was the {name} built?",
            "Which year was the {name} built in?",
            "What was the year in which the {name} was built?",
            "The {name} was built when?",
            "Built in which year was the {name}?",
        ),
        (
            "{it} was built in {value}.",
            "{it} was built of oak in {value}.",
            "In {value} {it} was built.",
            "The year in which workers built {it} was {value}.",
            "Workers built {it} in {value}.",
            "{value} was the year in which {it} was built.",
        ),
    ),
    Relation(
        "river",
        "km",
        (
            "How long is the {name}?",
            "What is the length of the {name}?",
            "How many kilometres long is the {name}?",
            "What length does the {name} have?",
            "The {name} is how long?",
            "How long a river is the {name}?",
        ),
        (
            "{it} is {value} long.",
            "{its} length is {value}.",
            "Its whole length of {value} was measured only lately.",
            "With {value} {it} is among the long ones.",
            "The length is {value}.",
            "{it} has a length of {value}.",
        ),
    ),
    Relation(
        "river",
        "mountain",
        (
            "Where does the {name} begin?",
            "On which mountain does the {name} begin?",
            "What is the source of the {name}?",
            "Which mountain is the source of the {name} on?",
            "The source of the {name} is on which mountain?",
            "On what mountain is the source of the {name}?",
        ),
        (
            "{it} begins on Mount {value}.",
            "{its} source is on Mount {value}.",
            "The source lies high on Mount {value}.",
            "On Mount {value} {it} begins as a small stream.",
            "Mount {value} is where {it} begins.",
            "{its} source lies on Mount {value}.",
        ),
    ),
    Relation(
        "company",
        "person",
        (
            "Who founded {name}?",
            "Who was the founder of {name}?",
            "By whom was {name} founded?",
            "What was the name of the founder of {name}?",
            "{name} was founded by whom?",
            "Which founder did {name} have?",
        ),
        (
            "{it} was founded by {value}.",
            "{value} founded {it} with borrowed money.",
            "{its} founder was {value}.",
            "The founder, {value}, had been a baker.",
            "{value} was {its} founder.",
            "The founder of {it} was {value}.",
        ),
    ),
    Relation(
        "company",
        "product",
        (
            "What does {name} make?",
            "What does {name} produce?",
            "What are the products of {name}?",
            "Which goods does {name} make?",
            "Which products does {name} make?",
            "{name} produces what?",
        ),
        (
            "{it} makes {value}.",
            "{it} produces {value} for many countries.",
            "{its} products are {value}.",
            "The workers make {value}.",
            "{value} are {its} products.",
            "{it} makes {value} of good quality.",
        ),
    ),
)
"""Every relation that is asked for."""
