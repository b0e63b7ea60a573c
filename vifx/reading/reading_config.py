"""The config of a set of questions: which ones, and how they are read."""

from __future__ import annotations

__all__ = ["Config"]

from dataclasses import dataclass, replace
from typing import get_args

from vifx import data
from vifx.checks import require_choice, require_integer
from vifx.reading.tokens import Unit


@dataclass(frozen=True)
class Config(data.Config):
    """The questions of an experiment; every field can be given on the command line.

    Raises:
      TypeError: if a field has the wrong type.
      ValueError: if a field is out of its range.
    """

    name: str = "invented"
    """`invented` (generated), `json` (a file in SQuAD's or WebQA's form, `source`), or a dataset of SQuAD's form that
    TFDS has prepared, such as `squad`."""
    batch_size: int = 64
    """Windows of passages in a minibatch, over all devices."""
    source: str | None = None
    """The file of questions for `json`."""
    test_source: str | None = None
    """A file of test questions for `json`; else `test` of the questions in `source` are held out."""
    questions: int = 4000
    """Training questions to draw for `invented`."""
    unit: Unit = "words"
    """What a token is: words (one character each in scripts without spaces), or characters."""
    passage_length: int = 128
    """Tokens of a passage that are read at a time; longer ones are read in windows."""
    question_length: int = 16
    """The most tokens of a question."""
    overlap: int = 32
    """Tokens that a window of a passage shares with the next."""
    least: int = 5
    """In how many training questions and their passages a token must be to be known."""

    def outlined(self) -> Config:
        """Return a config of few invented questions, whose variables and shapes are the same."""
        few = min(self.questions, self.batch_size)
        return replace(self, name="invented", source=None, test_source=None, questions=few)

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("questions", "passage_length", "question_length", "least", "overlap"):
            require_integer(getattr(self, field), field, least=int(field != "overlap"), owner=self)
        if self.overlap >= self.passage_length:
            sentence = f"must be below passage_length, {self.passage_length}, got {self.overlap}"
            raise self.refused("overlap", sentence)
        require_choice(self.unit, get_args(Unit), "unit", owner=self)
        if self.features is not None:
            raise self.refused("features", "must be left out for questions, whose features are known by name")
        for field in ("source", "test_source"):
            if self.name != "json" and getattr(self, field) is not None:
                raise self.refused(field, f"must be left out for {self.name}, which reads no file; or name json")
        if self.test_source == "":
            raise self.refused("test_source", "must not be empty; leave it out for the default")
