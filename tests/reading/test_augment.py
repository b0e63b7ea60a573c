"""Other evidence for a reader."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.reading import Passage, Question, drop_answers, drop_tokens, generate_questions, splice, tokenize

KEYS = jax.random.split(jax.random.key(0), 4000)


def test_tokens_are_dropped_at_their_rate_and_padding_is_not() -> None:
    batch = {"question": jnp.array([[5, 6, 0]]), "passage": jnp.array([[7, 0, 0, 0]]), "answer": jnp.zeros((1, 4, 2))}
    drawn = jax.jit(jax.vmap(lambda key: drop_tokens(0.3)(key, batch)))(KEYS)
    unknown = np.concatenate([np.mean(drawn[name] == 1, axis=0)[0] for name in ("question", "passage")])
    # Four standard errors of 4,000 draws.
    np.testing.assert_allclose(unknown, [0.3, 0.3, 0, 0.3, 0, 0, 0], atol=4 * np.sqrt(0.3 * 0.7 / 4000))
    assert not unknown[[2, 4, 5, 6]].any()
    independent = np.corrcoef(drawn["question"][:, 0, 0] == 1, drawn["passage"][:, 0, 0] == 1)[0, 1]
    assert abs(independent) < 4 / np.sqrt(4000)


def test_answers_are_dropped_with_their_ends() -> None:
    labels = np.zeros((2, 9, 2), np.float32)
    spans = {(0, 1, 3), (0, 4, 4), (0, 6, 8), (1, 0, 2)}
    for row, first, last in spans:
        labels[row, first, 0] = labels[row, last, 1] = 1
    drawn = np.asarray(
        jax.jit(jax.vmap(lambda key: drop_answers(0.25)(key, {"answer": jnp.asarray(labels)})["answer"]))(KEYS)
    )
    kept = np.stack([drawn[:, row, first, 0] for row, first, _ in sorted(spans)])
    np.testing.assert_array_equal(kept, np.stack([drawn[:, row, last, 1] for row, _, last in sorted(spans)]))
    np.testing.assert_allclose(kept.mean(axis=1), 0.75, atol=4 * np.sqrt(0.25 * 0.75 / 4000))
    assert np.abs(np.corrcoef(kept) - np.eye(4)).max() < 5 / np.sqrt(4000)
    assert drawn.sum(axis=(1, 2, 3)).max() == labels.sum()  # nothing is added


def test_rate_zero_changes_nothing() -> None:
    batch = {"question": jnp.array([[5]]), "passage": jnp.array([[7]]), "answer": jnp.ones((1, 1, 2))}
    for transform in (drop_tokens(0.0), drop_answers(0.0)):
        out = transform(jax.random.key(1), batch)
        assert all(np.array_equal(out[name], value) for name, value in batch.items())


@pytest.mark.parametrize("make", [drop_tokens, drop_answers])
def test_rates_are_checked(make) -> None:
    with pytest.raises(ValueError, match=r"rate must be a number in \[0, 1\), got 1"):
        make(1)
    with pytest.raises(TypeError, match=r"rate must be a number in \[0, 1\), got '0.1'"):
        make("0.1")


def test_spliced_passages_are_crops_of_two_passages_of_their_question() -> None:
    questions = generate_questions(40, seed=9)
    spliced = splice(questions, length=70, seed=0)
    assert splice(questions, length=70, seed=0) == spliced
    kept = 0
    for before, after in zip(questions, spliced, strict=True):
        assert after.answers == before.answers
        whole = [f"{a.text} {b.text}" for a in before.passages for b in before.passages if a is not b]
        for passage in after.passages:
            assert any(passage.text in text for text in whole)
            assert len(tokenize(passage.text)) <= 70
            assert all(passage.text[a:b] in before.answers for a, b in passage.spans)
            kept += len(passage.spans)
    assert kept > 40


def test_one_passage_is_cropped_alone() -> None:
    (question,) = splice([Question("q", "?", (Passage("a b c", ((2, 3),)),))], length=9, seed=0)
    assert question.passages == (Passage("a b c", ((2, 3),)),)
    assert question.id == "q-spliced"
