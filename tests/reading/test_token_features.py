"""The eight features against plain Python, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vifx import reading
from vifx.reading.tokens import Tokens


def levenshtein(a: list[int], b: list[int]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def windows(length: int, passage: list[int]) -> list[list[int]]:
    before = (length - 1) // 2
    return [passage[max(t - before, 0) : max(t - before + length, 0)] for t in range(len(passage))]


def plain(question: Tokens, passages: list[Tokens]) -> list[list[list[float]]]:
    """The definition, word by word and character by character."""

    def level(q: list[str], all_p: list[list[str]]) -> list[list[list[float]]]:
        found = []
        for i, p in enumerate(all_p):
            others = [set(o) for j, o in enumerate(all_p) if j != i]
            rows = []
            for token, window in zip(p, windows(len(q), p), strict=True):  # pyright: ignore[reportArgumentType]
                shared = len(set(q) & set(window)) / len(set(q) | set(window))
                edit = levenshtein(q, window) / len(q)  # pyright: ignore[reportArgumentType]
                seen = sum(token in o for o in others) / len(others) if others else 0.0
                rows.append([float(token in q), seen, shared, edit])
            found.append(rows)
        return found

    words = level(list(question.names), [list(p.names) for p in passages])
    characters = level(list("".join(question.names)), [list("".join(p.names)) for p in passages])
    joined = []
    for p, w, c in zip(passages, words, characters, strict=True):
        rows, at = [], 0
        for name, row in zip(p.names, w, strict=True):
            rows.append(row + np.mean(c[at : at + len(name)], axis=0).tolist())
            at += len(name)
        joined.append(rows)
    return joined


@pytest.mark.parametrize("pairs", [60, pytest.param(1000, marks=pytest.mark.thorough)])
def test_random_pairs(pairs: int) -> None:
    random = np.random.default_rng(0)
    for _ in range(pairs):
        length, size, letters = random.integers(1, 140), random.integers(1, 40), random.integers(1, 20)
        question, passage = random.integers(0, letters, length), random.integers(0, letters + 2, size)
        inside = windows(int(length), passage.tolist())
        edits = [levenshtein(question.tolist(), window) for window in inside]
        assert reading.edit_distances(question, passage).tolist() == edits
        sets = [len({*question} & {*window}) / len({*question} | {*window}) for window in inside]
        np.testing.assert_array_equal(reading.jaccard_similarities(question, passage), sets)


def test_whole_texts() -> None:
    for question in reading.generate_questions(4, seed=4):
        asked = reading.tokenize(question.text)
        passages = [reading.tokenize(passage.text) for passage in question.passages]
        for found, expected in zip(reading.features(asked, passages), plain(asked, passages), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_by_hand() -> None:
    """Five words: windows of five around each word, of which what is outside of the passage is dropped."""
    question = np.array([0, 1, 2, 3, 4])  # A  height  is  what  ?
    passage = np.array([0, 5, 6, 7, 8, 9, 1, 10, 11])  # A  lies  in  B  ,  peak  height  382  m
    jaccard = [1 / 7, 1 / 8, 1 / 9, 0, 1 / 9, 1 / 9, 1 / 9, 1 / 8, 1 / 7]
    np.testing.assert_allclose(reading.jaccard_similarities(question, passage), jaccard, rtol=1e-15)
    # Of windows [A lies in], [A lies in B], [A lies in B ,] the A is kept; of the others at most "height".
    assert reading.edit_distances(question, passage).tolist() == [4, 4, 4, 5, 5, 5, 5, 4, 4]


def test_one_passage_has_no_others() -> None:
    asked, passage = reading.tokenize("Who?"), reading.tokenize("Who knows")
    (found,) = reading.features(asked, [passage])
    assert not found[:, [1, 5]].any()
    assert found[:, 0].tolist() == [1, 0]


def test_names_in_their_order() -> None:
    assert len(reading.FEATURES) == 8
    assert [name.partition("/")[0] for name in reading.FEATURES[:4]] == ["match", "co-occurrence", "jaccard", "edit"]


def test_empty_texts_are_refused() -> None:
    asked, nothing = reading.tokenize("Who?"), reading.tokenize(" ")
    with pytest.raises(ValueError, match="question must have a token, got the text ' '"):
        reading.features(nothing, [asked])
    with pytest.raises(ValueError, match=r"passages\[1\] must have a token"):
        reading.features(asked, [asked, nothing])
    with pytest.raises(TypeError, match="question must be Tokens"):
        reading.features("Who?", [asked])  # pyright: ignore[reportArgumentType]
