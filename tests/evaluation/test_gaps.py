"""The gaps of a bound on a linear-Gaussian model, where all of them are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.test_likelihood_bounds import LATENT, LOG_LIKELIHOOD, POSTERIOR, POSTERIOR_MAP, SHIFT, X, model, normal

import vifx
from vifx import em, evaluation
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.nets import from_functions
from vifx.evaluation.certificate import Certificate

SCALES = np.array([0.6, 0.25])


def learned():
    """The linear-Gaussian model with a diagonal encoder of its own parameters, off in means and scales."""
    off = {"matrix": 0.8 * POSTERIOR_MAP.T, "shift": np.array([0.1, -0.1]), "log_scale": np.log(SCALES)}
    start = {name: jnp.asarray(value, jnp.float32) for name, value in off.items()}
    encoder = from_functions(
        lambda key, x: start,
        lambda p, x: normal(
            (x - jnp.asarray(SHIFT, jnp.float32)[None]) @ p["matrix"] + p["shift"][None], jnp.exp(p["log_scale"])[None]
        ),
    )
    _, generative, params, state = model(lambda x: x)
    inference = Joint(evidence("x"), factor("z | x", encoder, name="encoder"))
    return inference, generative, {**params, "encoder": start}, {**state, "encoder": {}}


def known():
    """A certificate of what is known exactly."""
    exact = evaluation.Estimate(LOG_LIKELIHOOD)
    settings = {"slack": 0.0, "correction": 0.0, "widest": 1.0, "event_shape": X.shape[1:]}
    return Certificate(kind="exact", confidence=0.95, below=exact, above=exact, **settings)


def divergence(mean, scales):
    """KL of a diagonal Gaussian from the posterior, whose mean is at zero."""
    precision = np.linalg.inv(POSTERIOR)
    spread = np.sum(np.diag(precision) * scales**2) + np.einsum("ni,ij,nj->n", mean, precision, mean)
    return 0.5 * (spread - LATENT - np.sum(np.log(scales**2)) + np.linalg.slogdet(POSTERIOR)[1])


def test_gaps_are_those_of_gaussians():
    settings = {"certificate": known(), "samples": 200, "steps": 400, "learning_rate": 0.03, "batch_size": 37}
    found = evaluation.gaps(jax.random.key(0), *learned(), {"x": X}, **settings)
    centred = X - SHIFT
    mean = -0.2 * centred @ POSTERIOR_MAP.T + np.array([0.1, -0.1])
    best = divergence(np.zeros((1, LATENT)), np.diag(np.linalg.inv(POSTERIOR)) ** -0.5)[0]
    own = divergence(mean, SCALES)
    np.testing.assert_allclose(found.inference.mean, own.mean(), rtol=0.03)
    np.testing.assert_allclose(found.approximation.mean, best, rtol=0.1)
    np.testing.assert_allclose(found.amortization.mean, own.mean() - best, rtol=0.05)
    assert np.corrcoef(found.inference.values, own)[0, 1] > 0.9
    total = found.approximation.values + found.amortization.values
    np.testing.assert_allclose(total, found.inference.values, rtol=1e-5, atol=1e-5)
    # E log (1/K) Σ w is below log E w by Var w / 2K to first order.
    assert 0 < found.monte_carlo.mean < 0.1
    assert found.samples == 200


@pytest.mark.thorough
def test_what_does_not_fit_is_refused():
    inference, generative, params, state = learned()
    arguments = (jax.random.key(0), inference, generative, params, state)
    with pytest.raises(ValueError, match="certificate is of 37 examples, but split has 5"):
        evaluation.gaps(*arguments, {"x": X[:5]}, certificate=known())
    with pytest.raises(TypeError, match="certificate must be a Certificate"):
        evaluation.gaps(*arguments, {"x": X}, certificate=3.0)
    plain = em.mixture(em.gaussian, 2)
    with pytest.raises(ValueError, match="has no network"):
        evaluation.gaps(jax.random.key(0), plain.inference, plain.generative, {}, {}, {"x": X}, certificate=known())
    with pytest.raises(ValueError, match="samples must be an integer"):
        evaluation.gaps(*arguments, {"x": X}, certificate=known(), samples=0)


@pytest.mark.thorough
def test_the_curve_is_of_powers_of_two_and_one_set_of_draws():
    inference, generative, params, state = learned()
    measure = evaluation.measure_bounds(inference, generative, {"x": X}, samples=(1, 5, 20))
    found = measure(jax.random.key(0), params, state)
    assert [name for name in found if name.startswith("iwae/")] == ["iwae/1", "iwae/5", "iwae/20"]
    curve = found["iwae/20"].curve
    assert list(curve) == [1, 2, 4, 8, 16, 20]
    assert found["iwae/20"].mean == curve[20].mean
    plain = evaluation.importance_weighted_bound(
        jax.random.key(0), inference, generative, params, state, {"x": X}, samples=(1, 4, 5, 20)
    )
    for count in (1, 4, 20):
        np.testing.assert_allclose(curve[count].values, plain[count].values, rtol=1e-5, atol=1e-5)
    figure = evaluation.bound_curve(curve, interval=(LOG_LIKELIHOOD.mean() - 0.1, LOG_LIKELIHOOD.mean() + 0.2))
    (axes,) = figure.axes
    line = axes.lines[0].get_xydata()
    np.testing.assert_allclose(line[:, 1], [-curve[count].mean for count in curve], rtol=1e-6)
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    np.testing.assert_allclose([band.y0, band.y1], -LOG_LIKELIHOOD.mean() + np.array([-0.2, 0.1]), rtol=1e-6)
    assert len(axes.texts) == 3
    assert vifx.evaluation.png(figure)
