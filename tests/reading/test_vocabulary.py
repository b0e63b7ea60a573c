"""Tokens as integers, and their vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vifx.reading import Vocabulary, read_vectors

WORDS = Vocabulary(["nile", "long", "missing"])


def test_texts_are_counted_once_each() -> None:
    texts = [["b", "a", "a", "a"], ["b", "c"], ["c", "b"]]
    assert Vocabulary.of(texts).tokens == ("b", "c", "a")
    assert Vocabulary.of(texts, least=2).tokens == ("b", "c")
    assert Vocabulary.of(texts, most=1).tokens == ("b",)


def test_ids() -> None:
    ids = WORDS.ids(["long", "other", "nile"])
    assert ids.tolist() == [3, 1, 2]
    assert ids.dtype == np.int32
    assert len(WORDS) == 5


def test_refusals() -> None:
    with pytest.raises(ValueError, match="must differ, got 'a' more than once"):
        Vocabulary(["a", "b", "a"])
    with pytest.raises(ValueError, match="least must be an integer ≥ 1"):
        Vocabulary.of([["a"]], least=0)


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_vectors_of_the_words_that_the_file_has(tmp_path: Path, header: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(f"{header}Nile 1 -2.5\nlong 0.5 1e-1\nnile 9 9\nother 7 7\n", encoding="utf-8")
    vectors = read_vectors(path, WORDS)
    assert vectors.found == 2
    np.testing.assert_array_equal(vectors.array, np.array([[0, 0], [0, 0], [1, -2.5], [0.5, 0.1], [0, 0]], np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nile 1 2\nlong 1\n", "line 2: expected a word and 2 numbers, found 1 after 'long'"),
        ("nile 1 2\nlong 1 x\n", "line 2: could not convert string to float: 'x'"),
        ("nile 1 nan\n", "line 1: expected finite numbers, found nan"),
        ("rhine 1 2\n", "expected vectors of the 3 words of the vocabulary, found none of them"),
        ("", "expected vectors of the 3 words of the vocabulary, found none of them"),
    ],
)
def test_wrong_files_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_vectors(path, WORDS)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a text file of word vectors, found none"):
        read_vectors(tmp_path / "none.txt", WORDS)
    (tmp_path / "binary.txt").write_bytes(b"nile 1 2\n\xff\xfe 1 2\n")
    with pytest.raises(ValueError, match="expected UTF-8"):
        read_vectors(tmp_path / "binary.txt", WORDS)
