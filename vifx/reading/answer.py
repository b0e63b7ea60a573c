"""The answers of a reader, and where the passages give them."""

from __future__ import annotations

__all__ = ["Answer", "Place"]

from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A span of a passage that gives an answer.

    Attributes:
      passage: the index of the passage, from 0.
      start: its first character in the passage.
      end: the character after its last.
      score: the score of this span alone: the product of the probabilities that an answer starts and ends there.
    """

    passage: int
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer:
    """An answer with its score over all passages.

    Attributes:
      text: as it is written at the best place.
      score: ``Σ s² / (1 + Σ s)`` over the best score s of each passage that gives it, in [0, passages); one passage
        gives at most one half.
      places: the best place of each passage, the best first.
    """

    text: str
    score: float
    places: tuple[Place, ...]
