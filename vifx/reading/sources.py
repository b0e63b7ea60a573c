"""Questions from files in the forms of SQuAD, WebQA and OLMES, and from prepared datasets."""

from __future__ import annotations

__all__ = ["prepared_questions", "read_questions"]

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vifx import data
from vifx.reading.entries import Entry, read_json
from vifx.reading.questions import Passage, Question

_OLMES = re.compile(r"Title: (?P<group>.*?)\nBackground: (?P<passage>.*)\nQuestion: (?P<text>.*)\nAnswer:", re.DOTALL)


def read_questions(file: str | Path) -> list[Question]:
    """Read the questions of a JSON file; which form it has is seen from its content.

    * **SQuAD**: an object with ``data``, a list of articles with ``paragraphs`` of a ``context`` and questions ``qas``
      (``id``, ``question`` and ``answers`` of a ``text`` and its ``answer_start``, which may be none).
    * **WebQA**: a list of objects with ``question`` (and, if they have one, ``id``) and ``passages`` of a ``passage``
      and an ``answer``, empty where the passage has none. Every place where a passage says the answer is one.
    * **OLMES**: one document a line (``.jsonl`` or ``.jsonl.gz``), each with a ``doc`` of ``id``, ``query`` (title,
      background and question in one text) and ``answers_text``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not JSON, has another form, or an entry is wrong; with file, line and field.
    """
    documents = read_json(file)
    if Path(file).name.endswith((".jsonl", ".jsonl.gz")):
        questions = [_olmes(document.field("doc")) for document in documents]
    elif isinstance(documents[0].value, list):
        questions = [_webqa(entry) for entry in documents[0].items()]
    else:
        questions = list(_squad(documents[0]))
    if not questions:
        raise ValueError(f"{file}: expected questions, found none")
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise ValueError(f"{file}: the id {question.id!r} is that of more than one question; make them differ")
        seen.add(question.id)
    return questions


def prepared_questions(config: data.Config) -> dict[str, list[Question]]:
    """Return the questions of a dataset of SQuAD's form that TFDS has prepared, by split.

    Raises:
      ValueError: if it is not prepared, or has other features.
    """
    folder = data.prepare(config)
    from vifx.data.prepared import open_examples

    splits = open_examples(folder)
    return {name: [_row(rows[i], config.name) for i in range(len(rows))] for name, rows in splits.items()}


def _squad(document: Entry) -> Iterator[Question]:
    for article in document.field("data").items():
        for paragraph in article.field("paragraphs").items():
            context = paragraph.field("context").text()
            for asked in paragraph.field("qas").items():
                answers = [_answer(answer, context) for answer in asked.field("answers").items()]
                yield _question(
                    asked.field("id").text(),
                    asked.field("question").text(),
                    context,
                    [(start, text) for start, text in answers],
                    article.value.get("title", ""),
                )


def _answer(answer: Entry, context: str) -> tuple[int, str]:
    text, start = answer.field("text").text(), answer.field("answer_start").integer()
    if context[start : start + len(text)] != text or start < 0:
        raise answer.wrong(f"must be what the context says at character {start}, {context[start:][: len(text)]!r}")
    return start, text


def _webqa(entry: Entry) -> Question:
    text, passages, answers = entry.field("question").text(), [], {}
    for each in entry.field("passages").items():
        passage, answer = each.field("passage").text(), each.field("answer").text(empty=True).strip()
        spans = _occurrences(answer, passage)
        if answer and not spans:
            raise each.field("answer").wrong("must be a piece of its passage, letter by letter, or empty")
        answers |= {answer: None} if answer else {}
        passages.append(Passage(passage, spans))
    if not passages:
        raise entry.field("passages").wrong("must have at least one passage")
    id_ = entry.field("id") if "id" in entry.value else entry._replace(value=str(entry.path[-1]))
    return Question(str(id_.value), text, tuple(passages), tuple(answers), str(id_.value))


def _olmes(doc: Entry) -> Question:
    query = doc.field("query")
    found = _OLMES.fullmatch(query.text())
    if found is None:
        raise query.wrong("must be 'Title: …', 'Background: …', 'Question: …' and 'Answer:', a line each")
    passage = found["passage"]
    answers = [(span[0], text.text()) for text in doc.field("answers_text").items() if (span := _first(text, passage))]
    return _question(doc.field("id").text(), found["text"], passage, answers, found["group"])


def _first(answer: Entry, passage: str) -> tuple[int, int] | None:
    spans = _occurrences(answer.text(), passage)
    return spans[0] if spans else None


def _row(row: Mapping[str, Any], name: str) -> Question:
    missing = {"id", "question", "context", "answers"} - row.keys()
    if missing:
        raise ValueError(f"{name}: expected the features of SQuAD, and {sorted(missing)} is missing; name another")
    decoded = {key: _text(row[key]) for key in ("id", "question", "context")}
    starts, texts = row["answers"]["answer_start"], row["answers"]["text"]
    answers = [(int(start), _text(text)) for start, text in zip(starts, texts, strict=True)]
    group = _text(row["title"]) if "title" in row else ""
    return _question(decoded["id"], decoded["question"], decoded["context"], answers, group)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _question(id_: str, text: str, context: str, answers: list[tuple[int, str]], group: str) -> Question:
    """Return a question of one passage; annotators' different answers all count, and the first one is marked."""
    spans = tuple((start, start + len(answer)) for start, answer in answers[:1])
    return Question(id_, text, (Passage(context, spans),), tuple(dict.fromkeys(text for _, text in answers)), group)


def _occurrences(answer: str, passage: str) -> tuple[tuple[int, int], ...]:
    found = re.finditer(re.escape(answer), passage) if answer else ()
    return tuple(match.span() for match in found)
