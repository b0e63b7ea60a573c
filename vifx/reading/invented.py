"""A reading task with a known answer key: invented things, several passages a question, most of them misleading."""

from __future__ import annotations

__all__ = ["generate_questions"]

from typing import Any

import numpy as np

from vifx.checks import require_integer
from vifx.reading.questions import Passage, Question
from vifx.reading.sentences import Relation, Sentences, read_sentences

_ONSETS = (
    *("b", "br", "c", "ch", "d", "dr", "f", "g", "gr", "h", "j"),
    *("k", "l", "m", "n", "p", "r", "s", "st", "t", "th"),
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_CODAS = ("", "", "", "l", "m", "n", "r", "s", "th", "x")
_PRODUCTS = (
    *("wooden chairs", "glass bottles", "leather shoes", "paper lanterns", "iron stoves", "silk scarves", "clay pots"),
    *("steel knives", "wool blankets", "copper kettles", "brass bells", "straw hats", "ink pens", "tin toys"),
    *("rubber boots", "stone mills", "linen shirts", "oak barrels"),
)
_ADDED = {
    "town": ("{} Bay", "{} Hill", "{} Falls", "Port {}", "New {}", "{} Bridge"),
    "ship": ("{} Star", "Lady {}", "{} Queen"),
    "company": ("{} Works", "{} and Sons", "House of {}"),
}
"""Words that are added to some names."""
_RESERVED = 2
"""How many ways to ask for and to tell each relation are kept for the test split."""
_OTHERS = 1
"""The most facts about a thing that are told besides the one that is asked for."""


def generate_questions(count: int, *, seed: int, unseen: bool = False) -> list[Question]:
    """Draw questions about invented persons, towns, ships, rivers and companies.

    Each question has three to five passages in random order. One or two of them answer it; one names the thing that is
    asked about and tells other facts of it; the others do not. Every passage has other things of the same kind, with
    the same kinds of facts, so that neither the type of an answer nor the thing alone decides. A thing is named once,
    and then called "it" or by its kind: the name and the answer are up to thirty words apart.

    Args:
      count: how many.
      seed: seed of the draws; names are drawn anew for every question.
      unseen: whether to use the phrasings that are kept for the test split, instead of the others.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if `count` is not positive or `seed` is negative.

    >>> question = generate_questions(1, seed=0)[0]
    >>> sum(len(passage.spans) > 0 for passage in question.passages) in (1, 2), len(question.answers)
    (True, 1)
    """
    require_integer(count, "count")
    # RandomState because NumPy promises that its stream never changes.
    random = np.random.RandomState(require_integer(seed, "seed", least=0))
    split = "unseen" if unseen else "seen"
    sentences = read_sentences()
    return [_Draw(random, sentences, unseen).question(f"{split}-{seed}-{i}") for i in range(count)]


class _Draw:
    """The draws of one question."""

    def __init__(self, random: np.random.RandomState, sentences: Sentences, unseen: bool) -> None:
        self.random, self.unseen = random, unseen
        self.kinds, self.relations = sentences
        self.names: set[str] = set()

    def question(self, id_: str) -> Question:
        asked = self.relations[self.random.randint(len(self.relations))]
        name, value = self.name(asked.kind), self.value(asked.value)
        answering = int(self.random.randint(1, 3))
        passages = [self.passage(asked, name, value) for _ in range(answering)]
        passages.append(self.passage(asked, name, None))
        passages += [self.passage(asked, None, None) for _ in range(self.random.randint(1, 3))]
        order = self.random.permutation(len(passages))
        text = self.one(self.ways(asked.questions)).format(name=name)
        return Question(id_, text[0].upper() + text[1:], tuple(passages[i] for i in order), (value,))

    def passage(self, asked: Relation, name: str | None, value: str | None) -> Passage:
        """Draw a passage about two or three things, one of them `name` and its answer `value` where they are given."""
        things: list[str | None] = [None] * int(self.random.randint(1, 3))
        things.insert(self.random.randint(len(things) + 1), name)
        text, spans = "", []
        for thing in things:
            told = thing is None or value is not None
            block, span = self.thing(asked, thing or self.name(asked.kind), value if thing else None, told)
            start = len(text) + (1 if text else 0)
            text = f"{text} {block}" if text else block
            if thing is not None and value is not None:
                spans.append((start + span[0], start + span[1]))
        return Passage(text, tuple(spans))

    def thing(self, asked: Relation, name: str, value: str | None, told: bool) -> tuple[str, tuple[int, int]]:
        """Draw a few sentences about a thing; `told` says whether they contain what is asked."""
        kind = self.kinds[asked.kind]
        others = [each for each in self.relations if each.kind == asked.kind and each != asked]
        chosen = self.random.permutation(len(others))[: self.random.randint(0, _OTHERS + 1)]
        sentences = [(self.one(self.ways(others[i].statements)), self.value(others[i].value)) for i in chosen]
        sentences += [(filler, "") for filler in kind.fillers if self.random.rand() < 0.2]
        sentences = [sentences[i] for i in self.random.permutation(len(sentences))]
        answer = (self.one(self.ways(asked.statements)), value or self.value(asked.value))
        if told:
            sentences.insert(self.random.randint(len(sentences) + 1), answer)
        text, span = self.one(kind.openings).format(name=name), (0, 0)
        for template, filled in sentences:
            called = kind.noun if self.random.rand() < 0.5 else kind.pronoun
            # The place of the value is marked while the rest is filled in.
            sentence = template.format(it=called, its=kind.possessive, value="\0")
            sentence = sentence[0].upper() + sentence[1:]
            start = len(text) + 1 + sentence.find("\0")
            text += " " + sentence.replace("\0", filled)
            if (template, filled) == answer:
                span = (start, start + len(filled))
        return text, span

    def ways(self, templates: tuple[str, ...]) -> tuple[str, ...]:
        return templates[-_RESERVED:] if self.unseen else templates[:-_RESERVED]

    def value(self, kind: str) -> str:
        if kind == "year":
            return str(self.random.randint(1500, 2000))
        if kind == "people":
            return f"{self.random.randint(1_000, 900_000):,}"
        if kind == "km":
            return f"{self.random.randint(20, 2_000)} km"
        if kind == "product":
            return self.one(_PRODUCTS)
        return self.name(kind)

    def name(self, kind: str) -> str:
        """Draw a name that this question does not have yet; persons have two."""
        while True:
            name = " ".join(self.syllables() for _ in range(2 if kind == "person" else 1))
            if kind in _ADDED and self.random.rand() < 0.3:
                name = self.one(_ADDED[kind]).format(name)
            if name not in self.names:
                self.names.add(name)
                return name

    def syllables(self) -> str:
        parts = [self.one(_ONSETS) + self.one(_VOWELS) + self.one(_CODAS) for _ in range(self.random.randint(2, 4))]
        return "".join(parts).capitalize()

    def one(self, options: Any) -> Any:
        return options[self.random.randint(len(options))]
