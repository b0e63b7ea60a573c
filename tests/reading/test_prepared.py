"""Questions of a dataset in SQuAD's form that TFDS has prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from vifx import reading

CONTEXT = "The Elbe is 1,094 km long."
ELBE = {"title": "Elbe", "context": CONTEXT}
ROWS = [
    {**ELBE, "id": "e1", "question": "How long is the Elbe?", "at": 12, "text": "1,094 km"},
    {**ELBE, "id": "e2", "question": "What is long?", "at": 0, "text": "The Elbe"},
    {
        "title": "Nile",
        "context": "The Nile is longer.",
        "id": "n1",
        "question": "What is longer?",
        "at": 4,
        "text": "Nile",
    },
]


class Small(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Three questions, in the features of `squad`."""

    name = "small_squad"  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text
        answers = tfds.features.Sequence({"text": text(), "answer_start": tfds.features.Scalar(np.int32)})
        names = ("id", "title", "context", "question")
        features = tfds.features.FeaturesDict({**{name: text() for name in names}, "answers": answers})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        del dl_manager
        return {"train": self._generate_examples(ROWS[:2]), "validation": self._generate_examples(ROWS[2:])}

    def _generate_examples(self, rows):
        for row in rows:
            answers = {"text": [row["text"]], "answer_start": [row["at"]]}
            yield row["id"], {k: row[k] for k in ("id", "title", "context", "question")} | {"answers": answers}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    Small(data_dir=str(folder), file_format="array_record").download_and_prepare()
    return folder


def test_the_questions_are_those_that_were_prepared(directory: Path) -> None:
    loaded = reading.load(reading.Config("small_squad", directory=str(directory), validation=0, least=1))
    for split, rows in ((loaded.train, ROWS[:2]), (loaded.test, ROWS[2:])):
        questions = {question.id: question for question in split.questions}
        assert sorted(questions) == [row["id"] for row in rows]
        for row in rows:
            question = questions[str(row["id"])]
            assert (question.text, question.group, question.answers) == (row["question"], row["title"], (row["text"],))
            ((start, end),) = question.passages[0].spans
            assert question.passages[0].text[start:end] == row["text"]


def test_what_is_no_dataset_of_questions_is_refused(directory: Path) -> None:
    with pytest.raises(ValueError, match="must be a known dataset, got 'small_squd'; did you mean 'small_squad'"):
        reading.load(reading.Config("small_squd", directory=str(directory)))
    with pytest.raises(ValueError, match=r"digits: expected the features of SQuAD, and \['answers', 'context'"):
        reading.load(reading.Config("digits", directory=str(directory)))
