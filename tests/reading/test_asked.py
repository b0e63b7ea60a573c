"""What is measured and answered by a reader whose answers are known."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vifx
from vifx import reading
from vifx.distributions import Bernoulli, EachStep
from vifx.reading import asked

LOADED = reading.load(reading.Config(questions=40, least=2, passage_length=48, overlap=16))
GIVEN = ("question", "passage", "features")


def told(question, passage, features):
    """Say that an answer is where the features, which are made up, say so."""
    del question
    lengths = jnp.sum(passage > 0, axis=1, dtype=jnp.int32)
    probabilities = jnp.clip(features[..., :2], 1e-6, 1 - 1e-6)
    each = Bernoulli(jnp.log(probabilities / (1 - probabilities)).reshape(-1, 2)).to_event(1)
    return EachStep(each, passage.shape[1], lengths=lengths)


GENERATIVE = vifx.Joint(vifx.evidence(*GIVEN), vifx.factor("answer | question, passage, features", told))


def known(encoded: reading.Encoded, share: float) -> reading.Encoded:
    """Return the split with features that are the right answers of a share of the rows, and nothing for the others."""
    features = np.zeros_like(encoded.arrays["features"])
    rows = round(share * len(features))
    features[:rows, :, :2] = 0.9 * encoded.arrays["answer"][:rows]
    arrays = {**encoded.arrays, "features": features}
    return reading.Encoded(**{**vars(encoded), "arrays": arrays})


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_scores_are_those_of_the_answers(share):
    encoded = known(LOADED.test, share)
    found: Any = asked.measure_answers(GENERATIVE, encoded)(jax.random.key(0), {}, {})
    rows = round(share * len(encoded.question))
    answered = set(encoded.question[:rows][encoded.arrays["answer"][:rows].any(axis=(1, 2))].tolist())
    expected = [float(i in answered) for i in range(len(encoded.questions))]
    assert found["exact_match"].values.tolist() == expected
    assert found["f1"].values.tolist() == expected
    assert found["answered"].values.tolist() == expected


def test_answers_to_further_questions_come_with_their_places():
    question = LOADED.test.questions[0]
    answer = asked.answerer(GENERATIVE, LOADED, threshold=0.5)
    # Features of one's own question are real ones: a word that the question has counts as start and as end.
    found = answer({}, {}, question)
    assert found
    assert all(
        question.passages[place.passage].text[place.start : place.end].casefold() == each.text.casefold()
        for each in found
        for place in each.places
    )
    assert found == tuple(sorted(found, key=lambda each: -each.score))


def test_heat_maps_are_of_passages_with_an_answer():
    drawings = asked.draw_heat_maps(GENERATIVE, known(LOADED.test, 1.0), n=2)
    assert list(drawings) == ["reading_1", "reading_2"]
    axes = drawings["reading_1"](jax.random.key(0), {}, {}).axes[0]
    shades: Any = [patch.get_facecolor() for patch in axes.patches[::2]]
    words = [text.get_text() for text, shade in zip(axes.texts, shades, strict=True) if shade[0] < 0.6]
    assert words
    assert LOADED.test.questions[0].answers[0].startswith(words[0])
