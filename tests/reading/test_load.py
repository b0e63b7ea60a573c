"""Questions by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from vifx import reading
from vifx.reading.sentences import read_sentences

HERE = Path(__file__).parent
SMALL = reading.Config(questions=80, least=2, passage_length=64)


def test_generated_questions_have_one_true_answer() -> None:
    for question in reading.generate_questions(200, seed=2):
        (answer,) = question.answers
        answering = [passage for passage in question.passages if passage.spans]
        assert 1 <= len(answering) <= 2 < len(question.passages)
        for passage in answering:
            ((start, end),) = passage.spans
            assert passage.text[start:end] == answer
        names = [word for word in question.text.rstrip("?").split() if word.istitle()][1:]
        misleading = [p for p in question.passages if not p.spans and all(name in p.text for name in names)]
        assert misleading or not names  # it names the thing, and does not answer


def matches(way: str, sentence: str) -> bool:
    """Whether a sentence is put in a way of the templates."""
    pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(way))
    return re.fullmatch(pattern, sentence, re.IGNORECASE) is not None


def test_a_passage_without_the_answer_tells_nothing_else_for_it() -> None:
    """Of the things in a passage all have the fact that is asked for but the one that is asked about."""
    kinds = read_sentences().kinds
    for question in reading.generate_questions(60, seed=3):
        asked, name = next(
            (relation, found[1])
            for relation in read_sentences().relations
            for way in relation.questions
            if (found := re.fullmatch(re.escape(way).replace(r"\{name\}", "(.+)"), question.text))
        )
        for passage in question.passages:
            sentences = [f"{sentence.rstrip('.')}." for sentence in passage.text.split(". ")]
            things = [s for s in sentences if any(matches(way, s) for way in kinds[asked.kind].openings)]
            told = [s for s in sentences if any(matches(way, s) for way in asked.statements)]
            silent = name in passage.text and not passage.spans
            assert len(told) == len(things) - silent, (question.text, passage.text)


def test_the_test_split_is_put_in_other_ways() -> None:
    seen = {q.text for q in reading.generate_questions(300, seed=0)}
    unseen = reading.generate_questions(300, seed=1, unseen=True)
    kept = [way.partition("{name}") for relation in read_sentences().relations for way in relation.questions[-2:]]
    for question in unseen:
        lowered = question.text.casefold()
        assert any(lowered.startswith(a.casefold()) and lowered.endswith(b.casefold()) for a, _, b in kept)
    assert not seen & {q.text for q in unseen}


def test_draws_are_reproducible() -> None:
    assert reading.generate_questions(3, seed=5) == reading.generate_questions(4, seed=5)[:3]
    assert reading.generate_questions(3, seed=5) != reading.generate_questions(3, seed=6)


def test_invented() -> None:
    loaded = reading.load(SMALL)
    assert loaded.validation is not None
    sizes = [len(split.questions) for split in (loaded.train, loaded.validation, loaded.test)]
    assert sizes == [72, 8, 10]
    dataset = loaded.dataset
    assert max(dataset.train[name].max() for name in ("question", "passage")) == len(loaded.vocabulary) - 1
    assert dataset.info.shape == (64,)
    assert any("are negatives" in note for note in dataset.info.notes)
    for row in range(len(loaded.test.question)):
        starts, ends = (np.flatnonzero(loaded.test.arrays["answer"][row, :, i]) for i in range(2))
        for first, last in zip(starts, ends, strict=True):
            assert (loaded.test.text(row, int(first), int(last)),) == loaded.test.questions[
                loaded.test.question[row]
            ].answers


def test_files_are_divided_by_their_groups(tmp_path: Path) -> None:
    articles = [
        {
            "title": f"article {i}",
            "paragraphs": [
                {"context": "It is red.", "qas": [{"id": f"{i}/{j}", "question": "What?", "answers": []}]}
                for j in range(3)
            ],
        }
        for i in range(10)
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": articles}), encoding="utf-8")
    loaded = reading.load(reading.Config("json", source=str(path), validation=2, test=3, passage_length=8, overlap=2))
    assert loaded.validation is not None
    groups = [{q.group for q in split.questions} for split in (loaded.train, loaded.validation, loaded.test)]
    assert [len(each) for each in groups] == [5, 2, 3]
    assert len(set.union(*groups)) == 10
    assert groups[2] != {f"article {i}" for i in range(3)}  # drawn, and by the seed
    other = reading.load(
        reading.Config("json", source=str(path), validation=2, test=3, split_seed=1, passage_length=8, overlap=2)
    )
    assert {q.group for q in other.test.questions} != groups[2]


def test_a_test_file_of_its_own() -> None:
    config = reading.Config(
        "json", source=str(HERE / "squad.json"), test_source=str(HERE / "webqa.json"), validation=0, least=1
    )
    loaded = reading.load(config)
    assert loaded.validation is None
    assert len(loaded.dataset.validation["passage"]) == 0
    assert (len(loaded.train.questions), len(loaded.test.questions)) == (3, 3)
    assert loaded.test.arrays["passage"][3, 0] == 1  # a character that the training file does not have


def test_further_questions_are_encoded_alike() -> None:
    loaded = reading.load(SMALL)
    again = loaded.encode(loaded.test.questions)
    for name, array in again.arrays.items():
        np.testing.assert_array_equal(array, loaded.test.arrays[name][:, : array.shape[1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "f.json"}, "source must be left out for invented, which reads no file"),
        ({"test_source": "f.json"}, "test_source must be left out for invented"),
        ({"features": "x=image"}, "features must be left out for questions"),
        ({"overlap": 128}, "overlap must be below passage_length, 128, got 128"),
        ({"unit": "lines"}, "unit must be one of words, characters; got 'lines'"),
        ({"questions": 0}, "questions must be an integer ≥ 1, got 0"),
    ],
)
def test_configs_are_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reading.Config(**arguments)  # pyright: ignore[reportArgumentType]


def test_a_file_is_asked_for() -> None:
    with pytest.raises(ValueError, match="source must be a file of questions in SQuAD's, WebQA's or OLMES's form"):
        reading.load(reading.Config("json"))


def test_load_needs_a_config_of_this_room() -> None:
    with pytest.raises(TypeError, match=r"load: config must be a reading\.Config"):
        reading.load("invented")  # pyright: ignore[reportArgumentType]
