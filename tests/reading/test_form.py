"""The two forms of the reader, by what is known of them."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np

import vifx
from vifx.reading import ARTICLE, CODE, Reader, answers


def default(function, name):
    return inspect.signature(function).parameters[name].default


def test_what_is_published_of_the_forms() -> None:
    assert (ARTICLE.noise, ARTICLE.dropout, ARTICLE.hand_features, ARTICLE.average) == (0.1, 0.0, True, None)
    assert ARTICLE.positions > 0
    assert CODE[:4] == (0.0, 0.1, 0, False)
    assert CODE.average == 0.9999
    assert Reader(9).question_dilations == (1, 2, 1)
    assert Reader(9).passage_dilations == (1, 2, 4, 8, 16, 1)
    assert (default(vifx.focal, "alpha"), default(vifx.focal, "gamma")) == (0.25, 2.0)
    assert (default(answers, "threshold"), default(answers, "longest")) == (0.1, 12)


def test_the_optimizers_are_adam_and_rectified_adam() -> None:
    """The first update of Adam has the size of the rate; that of rectified Adam is the gradient times the rate."""
    gradient = {"w": jnp.array([3.0, -0.02])}
    for form, expected in ((ARTICLE, [-0.1, 0.1]), (CODE, [-0.3, 0.002])):
        optimizer = form.optimizer(0.1)
        with jax.numpy_dtype_promotion("standard"):  # optax multiplies by an integer count
            updates, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
        np.testing.assert_allclose(updates["w"], expected, rtol=1e-4)
