"""What a reader answers, and where the passages say it."""

from __future__ import annotations

__all__ = ["Answer", "Place"]

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A piece of a passage that says an answer.

    Attributes:
      passage: which passage, from 0.
      start: its first character in the passage.
      end: the character after its last.
      score: of this piece alone, the product of the probabilities that it starts and ends there.
    """

    passage: int
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer:
    """An answer with its score over all passages.

    Attributes:
      text: as the best of its places writes it.
      score: ``Σ s² / (1 + Σ s)`` over the best score s of each passage that says it, in [0, passages); one passage
        gives at most one half.
      places: the best place of each passage, the best first.
    """

    text: str
    score: float
    places: tuple[Place, ...]
