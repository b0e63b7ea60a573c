"""What invented questions are about, how they ask and how passages tell it: the tables of `sentences.toml`."""

from __future__ import annotations

__all__ = ["Kind", "Relation", "Sentences", "read_sentences"]

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of thing that passages are about.

    Attributes:
      noun: what later sentences call such a thing, for example "the town".
      pronoun: the pronoun for it.
      possessive: the possessive pronoun for it.
      openings: sentences that name it, with ``{name}``.
      fillers: sentences that answer no question, with ``{it}``.
    """

    noun: str
    pronoun: str
    possessive: str
    openings: tuple[str, ...]
    fillers: tuple[str, ...]


class Relation(NamedTuple):
    """Something that can be asked about the things of a kind.

    Attributes:
      kind: the kind of thing.
      value: what the answer is: the name of something, ``"year"`` or a unit.
      questions: ways to ask for it, with ``{name}``; the last two are kept for the test split.
      statements: ways to tell it, with ``{it}`` or ``{its}``, and ``{value}``; the last two are kept for the test
        split.
    """

    kind: str
    value: str
    questions: tuple[str, ...]
    statements: tuple[str, ...]


class Sentences(NamedTuple):
    """Everything that invented passages are made of.

    Attributes:
      kinds: the kinds of things by name.
      relations: everything that is asked.
    """

    kinds: Mapping[str, Kind]
    relations: tuple[Relation, ...]


def read_sentences() -> Sentences:
    """Read the tables, in which a text has one sentence on each line."""
    tables = tomllib.loads(files("vifx.reading").joinpath("sentences.toml").read_text(encoding="utf-8"))

    kinds = {
        name: Kind(kind["noun"], kind["pronoun"], kind["possessive"], _lines(kind["openings"]), _lines(kind["fillers"]))
        for name, kind in tables["kinds"].items()
    }
    relations = (
        Relation(each["kind"], each["value"], _lines(each["questions"]), _lines(each["statements"]))
        for each in tables["relations"]
    )
    return Sentences(kinds, tuple(relations))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.splitlines())
