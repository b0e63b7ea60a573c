"""Spans against all of them, and answers over passages."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from vifx.reading import Passage, Question, Vocabulary, answers, best_spans, encode, vote


@pytest.mark.parametrize(("tokens", "longest"), [(1, 1), (7, 1), (9, 4), (9, 12), (30, 5)])
@pytest.mark.parametrize("threshold", [0.0, 0.4])
def test_the_best_of_all_spans(tokens: int, longest: int, threshold: float) -> None:
    probabilities = np.random.default_rng(tokens).uniform(size=(20, tokens, 2)).astype(np.float32)
    count = 5
    found = best_spans(jnp.asarray(probabilities), longest=longest, threshold=threshold, count=count)
    for row, given in enumerate(probabilities):
        every = {
            (i, j): given[i, 0] * given[j, 1]
            for i, j in itertools.product(range(tokens), repeat=2)
            if i <= j < i + longest and given[i, 0] > threshold and given[j, 1] > threshold
        }
        ranked = sorted(every.values(), reverse=True)[:count]
        scores = np.asarray(found.score[row])
        padded = ranked + [0.0] * (len(scores) - len(ranked))
        np.testing.assert_array_equal(scores, np.array(padded, np.float32))
        for i, j, score in zip(found.first[row].tolist(), found.last[row].tolist(), scores, strict=True):
            assert score == 0 or every[i, j] == score


def test_an_end_before_its_start_is_none() -> None:
    probabilities = np.zeros((1, 6, 2), np.float32)
    probabilities[0, 4, 0] = probabilities[0, 1, 1] = 0.9
    assert best_spans(jnp.asarray(probabilities)).score.tolist() == [[0.0]]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"shape \[rows, tokens, 2\], got \[3, 2\]"):
        best_spans(jnp.zeros((3, 2)))
    with pytest.raises(ValueError, match="longest must be an integer ≥ 1, got 0"):
        best_spans(jnp.zeros((1, 3, 2)), longest=0)


def test_votes() -> None:
    assert vote([0.9]) == pytest.approx(0.81 / 1.9, rel=1e-12)
    assert vote([0.9]) > vote([0.4] * 4)  # one sure passage against four unsure ones
    assert vote([0.6, 0.6]) > vote([0.6])
    assert vote([]) == 0


def reads(passages: list[str], marked: list[tuple[int, int, int, float]], *, passage_length: int = 8) -> list:
    """Answers where starts and ends at (row, first, last) have the square root of the score as probability."""
    question = Question("q", "What?", tuple(Passage(text) for text in passages))
    encoded = encode([question], Vocabulary([]), passage_length=passage_length, question_length=2, overlap=3)
    probabilities = np.zeros((*encoded.arrays["passage"].shape, 2), np.float64)
    for row, first, last, score in marked:
        probabilities[row, first, 0] = probabilities[row, last, 1] = score**0.5
    return answers(encoded, probabilities.astype(np.float32), threshold=0.3)


def test_passages_vote_and_the_best_place_of_each_counts() -> None:
    (found,) = reads(
        ["the red Nile and the Nile", "NILE flows", "Rhine"], [(0, 2, 2, 0.5), (0, 5, 5, 0.8), (1, 0, 0, 0.6)]
    )
    best = found[0]
    assert best.text == "Nile"
    assert best.score == pytest.approx(vote([0.8, 0.6]), rel=1e-6)
    assert [(place.passage, place.start, place.end) for place in best.places] == [(0, 21, 25), (1, 0, 4)]
    assert best.places[1].score == pytest.approx(0.6, rel=1e-6)
    assert [answer.text for answer in found[1:]] == ["Nile and the Nile"]  # from the first start to the second end


def test_windows_of_a_passage_are_one_passage() -> None:
    text = "a b c d e f g h i j"
    (found,) = reads([text], [(0, 6, 6, 0.5), (1, 1, 1, 0.7)])
    assert [(answer.text, len(answer.places)) for answer in found] == [("g", 1)]
    assert found[0].score == pytest.approx(vote([0.7]), rel=1e-6)


def test_no_answer_and_no_answer_in_padding() -> None:
    (found,) = reads(["a b", "c"], [(0, 5, 6, 0.9), (1, 0, 0, 0.05)])
    assert found == ()
    question = Question("q", "a", (Passage("b"),))
    encoded = encode([question], Vocabulary([]), passage_length=4, question_length=1, overlap=0)
    with pytest.raises(ValueError, match="one row for each of the 1 encoded ones, got 2"):
        answers(encoded, np.zeros((2, 4, 2), np.float32))
