"""Files of questions, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from vifx.reading import read_questions

HERE = Path(__file__).parent
OLMES = {
    "doc": {
        "id": "o1",
        "query": "Title: Elbe\nBackground: The Elbe is long.\nIt is old.\nQuestion: What is old?\nAnswer:",
        "answers_text": ["The Elbe", "Elbe", "Rhine"],
    }
}


def test_webqa() -> None:
    first, second, third = read_questions(HERE / "webqa.json")
    assert first.text == "Which river flows through the old town of Marlow?"
    assert first.answers == ("Thames",)
    assert [len(passage.spans) for passage in first.passages] == [2, 0, 1]
    assert all(p.text[a:b] == "Thames" for p in first.passages for a, b in p.spans)
    assert second.passages[0].text[slice(*second.passages[0].spans[0])] == "382米"
    assert (third.answers, third.passages[0].spans) == ((), ())


def test_squad() -> None:
    long, painted, town = read_questions(HERE / "squad.json")
    assert long.answers == ("1,094 km", "1,094 km long")
    assert long.passages[0].spans == ((12, 20),)
    assert painted.answers == ()
    assert (long.group, town.group) == ("Rivers", "Towns")


@pytest.mark.parametrize("name", ["q.jsonl", "q.jsonl.gz"])
def test_olmes(tmp_path: Path, name: str) -> None:
    text = (json.dumps(OLMES) + "\n\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    (question,) = read_questions(tmp_path / name)
    assert question.passages[0].text == "The Elbe is long.\nIt is old."
    assert (question.text, question.group, question.answers) == ("What is old?", "Elbe", ("The Elbe", "Elbe"))
    assert question.passages[0].spans == ((0, 8),)


def changed(file: str, old: str, new: str) -> str:
    text = (HERE / file).read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed("webqa.json", '"id": "hand-2",', '"id": "hand-2"'), r"line 13, column 5: Expecting ',' delimiter"),
        (
            changed("webqa.json", '"question": "Who wrote', '"asked": "Who wrote'),
            r"line 19: \[2\] must have the field ",
        ),
        (
            changed("webqa.json", '"answer": "382米"', '"answer": 382'),
            r"line 15: \[1\].passages\[0\].answer must be a st",
        ),
        (
            changed("webqa.json", '"answer": "382米"', '"answer": "383米"'),
            r"line 15: .* must be a piece of its passage",
        ),
        (changed("webqa.json", '[{"passage": "Nobody knows.", "answer": ""}]', "[]"), "must have at least one passage"),
        (changed("webqa.json", '"Nobody knows."', '"  "'), r"line 22: \[2\].passages\[0\].passage must not be empty"),
        (changed("webqa.json", "hand-2", "hand-1"), "the id 'hand-1' is that of more than one question"),
        (
            changed("squad.json", '"answer_start": 0', '"answer_start": 1'),
            r"line 29: data\[1\].paragraphs\[0\].qas\[0\].an",
        ),
        (changed("squad.json", '"answer_start": 0', '"answer_start": "0"'), "answer_start must be an integer"),
        (changed("squad.json", '"qas": [{', '"qas": {"a": [{').replace("}]}]\n", "}]}]}\n"), r"qas must be a list"),
        ("[]", "expected questions, found none"),
        ("3", "the document must be an object"),
        ("[3]", r"line 1: \[0\] must be an object, got 3"),
        ("", "line 1, column 1: Expecting value; expected JSON"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "questions.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_questions(path)


def test_lines_of_documents_are_named(tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"doc": OLMES["doc"] | {"id": "o2", "query": "What is old?"}}
    path = tmp_path / "questions.jsonl"
    path.write_text(f"{json.dumps(OLMES)}\n{json.dumps(wrong)}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 2: doc.query must be 'Title: …', 'Background: …'"):
        read_questions(path)
    path.write_text(f"{json.dumps(OLMES)}\n{{\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2, column 2: Expecting property name"):
        read_questions(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a JSON file of questions, found none"):
        read_questions(tmp_path / "none.json")
    (tmp_path / "q.json").write_bytes(b'["\xff"]')
    with pytest.raises(ValueError, match="expected JSON in UTF-8"):
        read_questions(tmp_path / "q.json")
    (tmp_path / "q.jsonl.gz").write_bytes(b"{}")
    with pytest.raises(ValueError, match="expected JSON in UTF-8"):
        read_questions(tmp_path / "q.jsonl.gz")
