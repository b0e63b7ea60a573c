"""The kinds of things that generated passages are about, and what is said of them that nobody asks."""

from __future__ import annotations

__all__ = ["KINDS", "Kind"]

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
                "{name} was a quiet person and had few friends.",
                "Visitors often came to see {name}.",
                "Some old books speak of {name}.",
            ),
            (
                "{it} had two brothers and liked long walks.",
                "{it} lived in a small house near the old market for many years.",
                "For a while {it} gave up all work because of bad health.",
                "Then {it} travelled for a year.",
                "In the evening {it} read and played the piano.",
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
                "{name} is an old and quiet place.",
                "Visitors like {name} and its narrow streets.",
                "There is a good road to {name}.",
            ),
            (
                "{it} has a small museum and three schools.",
                "A market is held there every Saturday, and many farmers come to sell fruit.",
                "{it} was damaged by fire more than once.",
                "Many young people leave for the city.",
                "The road goes on to the sea.",
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
                "Everybody at the harbour knew the {name}.",
                "In those days the {name} sailed along the coast.",
                "A painting of the {name} hangs in the town hall.",
            ),
            (
                "{it} carried wool, tea and other goods.",
                "In bad weather {it} lost a mast but came back safely.",
                "A model of {it} is shown in a museum.",
                "The crew was small but strong.",
                "Once {it} met a storm near the cape.",
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
                "Children swim in the {name}.",
                "The {name} is quiet except in spring.",
                "A path goes along the {name}.",
            ),
            (
                "{it} freezes in hard winters.",
                "Several old bridges cross {it}, and people fish there in summer.",
                "{it} is known for many kinds of birds.",
                "Mills once stood along its banks.",
                "In summer the water is low.",
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
                "Everybody in the country knows {name}.",
                "{name} is an old company.",
                "The newspapers often write about {name}.",
            ),
            (
                "{it} survived several hard years and a great fire.",
                "Most of the workers stay with {it} for a long time.",
                "{it} gives money to schools and to a small theatre.",
                "New halls were opened near the station.",
                "At first nobody believed in {it}.",
            ),
        ),
    }
)
"""Every kind of thing by name."""
