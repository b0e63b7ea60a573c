"""Questions with the passages that may answer them."""

from __future__ import annotations

__all__ = ["Passage", "Question"]

from dataclasses import dataclass


@dataclass(frozen=True)
class Passage:
    """A text, and where in it the question is answered.

    Attributes:
      text: the passage.
      spans: the first character and the one after the last of each answer in it; none if it has no answer.

    Raises:
      ValueError: if a span is empty or outside of the text.

    Example:
      >>> passage = Passage("Anna Holm is the mayor.", ((0, 9),))
      >>> start, end = passage.spans[0]
      >>> passage.text[start:end]
      'Anna Holm'
    """

    text: str
    spans: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for start, end in self.spans:
            if not 0 <= start < end <= len(self.text):
                raise ValueError(
                    f"spans must be inside of the text, 0 ≤ start < end ≤ {len(self.text)}, got ({start}, {end})"
                )


@dataclass(frozen=True)
class Question:
    """A question, its passages and its answer key.

    Attributes:
      id: an identifier, unique within a split.
      text: the question.
      passages: the passages that may answer it, at least one.
      answers: every text that counts as right; none if it is not known or the passages have no answer.
      group: the name of a group, such as an article, that splits do not divide; "" for none.

    Raises:
      ValueError: if there is no passage.

    Example:
      >>> passage = Passage("Anna Holm is the mayor.", ((0, 9),))
      >>> question = Question("1", "Who is the mayor?", (passage,), ("Anna Holm",))
      >>> question.answers
      ('Anna Holm',)
    """

    id: str
    text: str
    passages: tuple[Passage, ...]
    answers: tuple[str, ...] = ()
    group: str = ""

    def __post_init__(self) -> None:
        if not self.passages:
            raise ValueError(f"question {self.id!r} must have passages, got none; leave it out")
