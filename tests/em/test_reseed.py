"""Empty components, filled by the step of a fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import data, em, training
from vifx.em.reseed import MOST, reseeded


def problem():
    """Two clusters, and three components of which the last one is near them or far away."""
    random = np.random.default_rng(0)
    x = 10 * random.normal(size=(2, 2))[np.arange(90) % 2] + random.normal(size=(90, 2))
    mixture = em.mixture(em.gaussian, 3, covariance="spherical")
    good, state = em.starts(jax.random.key(0), mixture, {"x": jnp.asarray(x)}, "random", 1)
    bad = {**good, "components": {**good["components"], "mean": good["components"]["mean"].at[0, 2].set(1e6)}}
    return x, mixture, good, bad, state


@pytest.mark.thorough
def test_an_empty_component_is_filled_in_the_start_that_has_one(x64):
    """Of two starts one has a component far away; the other is what it is alone."""
    x, mixture, good, bad, state = problem()
    stacked = jax.tree.map(lambda *each: jnp.concatenate(each), good, bad)
    step = training.several(training.solve(mixture.objective, "model"), 2, best="objective")
    fitted = training.fit(
        jax.random.key(1),
        reseeded(step, mixture, 2),
        mixture.objective,
        data.Full({"x": x}),
        steps=9,
        log_every=1,
        initial=(stacked, state),
        monotone="objective",
    )
    column = lambda start, name: [row[f"start/{start}/{name}"] for row in fitted.history]  # noqa: E731
    assert column(0, "reseeded/z") == column(0, "split/z") == [-1] * 9
    assert column(1, "reseeded/z") == [2] + [-1] * 8
    assert column(1, "split/z")[0] in (0, 1)
    assert column(1, "anew/objective") == [0, 1] + [0] * 7
    alone = em.fit(
        jax.random.key(2), mixture, x, start=(jax.tree.map(lambda leaf: leaf[0], good), state), steps=8, tolerance=0.0
    )
    np.testing.assert_allclose(column(0, "objective"), alone.history, rtol=1e-12)
    weights = np.asarray(jax.nn.softmax(fitted.train_state.params["weights"]["logits"][1, 0]))
    assert (weights > 0.01).all()


@pytest.mark.thorough
def test_half_of_the_largest_component_goes_to_the_empty_one(x64):
    """The M step is that of the shares: the weights before it are kept, and halved between the two in expectation."""
    x, mixture, _, bad, state = problem()
    params = jax.tree.map(lambda leaf: leaf[0], bad)
    before = np.asarray(mixture.posterior(params, state, x).probs).sum(0)
    step = reseeded(training.solve(mixture.objective, "model"), mixture, 1)
    initial = training.Progress(params, state, step.init(jax.random.key(1), params, state))
    progress, metrics = step.update(jax.random.key(2), initial, {"x": jnp.asarray(x)})
    after = 90 * np.asarray(jax.nn.softmax(progress.params["weights"]["logits"][0]))
    gave, other = int(np.argmax(before)), int(np.argsort(before)[1])
    assert (int(metrics["reseeded/z"]), int(metrics["split/z"])) == (2, gave)
    np.testing.assert_allclose(after[other], before[other], rtol=1e-9)
    np.testing.assert_allclose(after[gave] + after[2], before[gave], rtol=1e-9)
    assert abs(after[2] / before[gave] - 0.5) < 4 * np.sqrt(1 / 12 / before[gave])
    # After so many times it leaves them as they are: the update is that of plain EM.
    tired = initial._replace(slot=initial.slot._replace(times=jnp.asarray(MOST, jnp.int32)))
    progress, metrics = step.update(jax.random.key(3), tired, {"x": jnp.asarray(x)})
    plain, _ = training.solve(mixture.objective, "model").update(
        jax.random.key(4), training.Progress(params, state, ()), {"x": jnp.asarray(x)}
    )
    assert int(metrics["reseeded/z"]) == -1
    np.testing.assert_allclose(progress.params["components"]["mean"], plain.params["components"]["mean"], rtol=1e-12)
