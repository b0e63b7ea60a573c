"""The two forms of the reader, by what is known of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.reading import ARTICLE, CODE, Reader


def test_what_the_forms_differ_in() -> None:
    shared = {"question_dilations": (1, 2, 1), "passage_dilations": (1, 2, 4, 8, 16, 1)}
    assert ARTICLE.reader(50, 8) == Reader(50, 8, **shared, noise=0.1, positions=32, hand_features=True)
    assert CODE.reader(50, 8) == Reader(50, 8, **shared, dropout=0.1, positions=0, hand_features=False)
    assert (CODE.alpha, CODE.gamma, CODE.threshold, CODE.longest, CODE.average) == (0.25, 2.0, 0.1, 12, 0.9999)
    assert (CODE.spliced, CODE.members, ARTICLE.spliced, ARTICLE.average) == (False, 1, True, None)
    assert ARTICLE.members > 1


def test_the_optimizers_are_adam_and_rectified_adam() -> None:
    """The first update of Adam has the size of the rate; that of rectified Adam is the gradient times the rate."""
    gradient = {"w": jnp.array([3.0, -0.02])}
    for recipe, expected in ((ARTICLE, [-0.1, 0.1]), (CODE, [-0.3, 0.002])):
        optimizer = recipe.optimizer(0.1)
        with jax.numpy_dtype_promotion("standard"):  # optax multiplies by an integer count
            updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
        np.testing.assert_allclose(updates["w"], expected, rtol=1e-4)


@pytest.mark.parametrize(("recipe", "rate"), [(ARTICLE, 0.1), (CODE, 0.0)], ids=["article", "code"])
def test_tokens_and_answers_are_dropped_in_the_published_form_alone(recipe, rate) -> None:
    answer = np.zeros((2000, 5, 2), np.float32)
    answer[:, 1, 0] = answer[:, 3, 1] = 1
    batch = {
        "question": jnp.full((2000, 4), 7),
        "passage": jnp.full((2000, 5), 7),
        "answer": jnp.asarray(answer),
    }
    drawn = jax.jit(recipe.transform())(jax.random.key(0), batch)
    for name, count in (("question", 8000), ("passage", 10000)):
        np.testing.assert_allclose(np.mean(drawn[name] == 1), rate, atol=4 * np.sqrt(rate * 0.9 / count))
    kept = np.asarray(drawn["answer"]).sum(axis=(1, 2)) / 2
    np.testing.assert_allclose(1 - kept.mean(), rate, atol=4 * np.sqrt(rate * 0.9 / 2000))
