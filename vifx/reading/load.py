"""Questions by name, as three encoded splits with one vocabulary."""

from __future__ import annotations

__all__ = ["Reading", "load"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vifx import data
from vifx.checks import require
from vifx.reading.augment import splice as spliced
from vifx.reading.encode import Encoded, encode
from vifx.reading.invented import generate_questions
from vifx.reading.questions import Question
from vifx.reading.reading_config import Config
from vifx.reading.sources import prepared_questions, read_questions
from vifx.reading.tokens import tokenize
from vifx.reading.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Reading:
    """Three splits of questions, encoded.

    Attributes:
      train: the questions for training.
      validation: questions held out of the training split; None if none were.
      test: the questions on which results are reported.
      vocabulary: the vocabulary of the training split.
      config: the config with which they were encoded.
    """

    train: Encoded
    validation: Encoded | None
    test: Encoded
    vocabulary: Vocabulary
    config: Config

    @property
    def dataset(self) -> data.Dataset:
        """The arrays of the splits, and what was decided about them."""
        train = self.train.arrays
        nothing = {name: array[:0] for name, array in train.items()}
        notes = [f"{name}: {note}" for name in ("train", "test") for note in getattr(self, name).notes]
        return data.Dataset(
            train,
            nothing if self.validation is None else self.validation.arrays,
            self.test.arrays,
            data.Info(
                self.config.name,
                train["passage"].shape[1:],
                None,
                0.0,
                float(len(self.vocabulary) - 1),
                notes=(f"{len(self.vocabulary):,} token ids", *notes),
            ),
        )

    def encode(self, questions: Sequence[Question]) -> Encoded:
        """Encode further questions in the same way; the length of their questions follows from themselves."""
        longest = max(len(tokenize(each.text, unit=self.config.unit)) for each in questions)
        return _encode(questions, self.vocabulary, self.config, max(longest, 1))


def _encode(questions: Sequence[Question], vocabulary: Vocabulary, config: Config, question_length: int) -> Encoded:
    return encode(
        questions,
        vocabulary,
        passage_length=config.passage_length,
        question_length=question_length,
        overlap=config.overlap,
        unit=config.unit,
    )


def load(config: Config, *, splice: bool = False) -> Reading:
    """Load questions with their passages; `config.validation` of the training questions are held out.

    The vocabulary is that of the training split. The invented questions of the test split are phrased in ways, and are
    about things, that the other splits do not have.

    Args:
      config: which questions, and how they are read.
      splice: whether the training split gets as many questions again, whose passages are pairs joined and cropped.

    Raises:
      TypeError: if `config` is not a `reading.Config`.
      ValueError: if a file cannot be read, or nothing is left to train on.
    """
    require(config, Config, "load: config", "a reading.Config", "write reading.Config()")
    train, validation, test = _questions(config)

    def names(text: str) -> tuple[str, ...]:
        return tokenize(text, unit=config.unit).names

    texts = [
        [name for text in (each.text, *(passage.text for passage in each.passages)) for name in names(text)]
        for each in train
    ]
    vocabulary = Vocabulary.of(texts, least=config.least)

    def encoded(split: list[Question]) -> Encoded:
        return _encode(split, vocabulary, config, config.question_length)

    if splice:
        train = [*train, *spliced(train, length=config.passage_length, seed=config.split_seed, unit=config.unit)]
    return Reading(encoded(train), encoded(validation) if validation else None, encoded(test), vocabulary, config)


def _questions(config: Config) -> tuple[list[Question], list[Question], list[Question]]:
    """Return the training, validation and test questions; validation questions are held out where there is no split."""
    seed = config.split_seed
    if config.name == "invented":
        train = generate_questions(config.questions, seed=2 * seed)
        test = generate_questions(max(config.questions // 8, 1), seed=2 * seed + 1, unseen=True)
    elif config.name == "json":
        if config.source is None:
            sentence = "must be a file of questions in SQuAD's, WebQA's or OLMES's form, got None; give its path"
            raise config.refused("source", sentence)
        train, test = read_questions(config.source), []
        if config.test_source is not None:
            test = read_questions(config.test_source)
    else:
        splits = prepared_questions(config)
        if "train" not in splits:
            raise ValueError(f"{config.name}: expected a split train, found {sorted(splits)}")
        train, test = splits["train"], splits.get("test", splits.get("validation", []))
    if not test:
        train, test = _hold_out(train, config.test, seed, "test")
    return (*_hold_out(train, config.validation, seed, "validation"), test)


def _hold_out(
    questions: list[Question], part: int | float, seed: int, name: str
) -> tuple[list[Question], list[Question]]:
    """Hold out whole groups of questions; a number of examples is a number of groups."""
    groups = {each.group or each.id: None for each in questions}
    _, held = data.hold_out({"x": np.arange(len(groups))}, part, seed, name=name)
    out = {group for i, group in enumerate(groups) if i in set(held["x"].tolist())}
    kept = [each for each in questions if (each.group or each.id) not in out]
    return kept, [each for each in questions if (each.group or each.id) in out]
