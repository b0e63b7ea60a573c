"""Targets in the plane: their integrals, and what is measured against them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from vifx import Joint, distributions, factor, target, transformed
from vifx.evaluation import planar_targets as targets
from vifx.flows import scale


@pytest.mark.first(1)
@pytest.mark.parametrize("name", targets.TARGETS)
def test_quadrature_is_the_integral(name):
    density = targets.TARGETS[name]
    grid = targets.quadrature(density)
    by_scipy, _ = scipy.integrate.dblquad(
        lambda b, a: float(np.exp(_numpy(name, a, b))), -7, 7, -7, 10, epsabs=1e-7, epsrel=1e-7
    )
    np.testing.assert_allclose(grid.log_z, np.log(by_scipy), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(grid.probability.sum(), 1, rtol=1e-10)
    points = jnp.asarray([[0.3, -1.2], [1.9, 0.4]])
    np.testing.assert_allclose(density(points), [_numpy(name, *p) for p in np.asarray(points)], rtol=1e-4)


def _numpy(name, a, b):
    """The formulas again, in NumPy."""
    if name == "two_rings":
        hills = np.logaddexp(-0.5 * ((a - 2) / 0.6) ** 2, -0.5 * ((a + 2) / 0.6) ** 2)
        return -0.5 * ((np.hypot(a, b) - 2) / 0.4) ** 2 + hills
    if name == "wave":
        return -0.5 * ((b - np.sin(np.pi * a / 2)) / 0.4) ** 2 - 0.5 * (a / 2.5) ** 8
    return -0.5 * (a / 1.2) ** 2 - 0.5 * ((b - 0.3 * a**2 + 1) / 0.35) ** 2


def test_a_square_that_cuts_the_density_is_refused():
    with pytest.raises(ValueError, match=r"limit 1.0 cuts the density"):
        targets.quadrature(targets.wave, limit=1.0)


def hill(z):
    """A normal with standard deviations 1 and 2, times e."""
    return 1 - 0.5 * (z[..., 0] ** 2 + (z[..., 1] / 2) ** 2) - jnp.log(4 * jnp.pi)


def test_evidence_of_a_known_pair():
    """The flow N(0, 2²) against N(0, diag(1, 2²)): bound, evidence and effective share in closed form."""
    inference = Joint(transformed("z", distributions.standard_normal(2), scale(), name="flow"))
    params = {"flow": {"log_scale": jnp.full(2, -np.log(2.0), jnp.float32)}}
    measure = targets.measure_target(inference, Joint(target("z", hill)), hill, samples=20_000, repeats=5)
    found = measure(jax.random.key(0), params, {"flow": {}})
    variance = np.array([1.0, 4.0])
    kl = 0.5 * np.sum(4.0 / variance - 1 - np.log(4.0 / variance))
    assert abs(found["elbo"].mean - (1 - kl)) < 4.3 * max(found["elbo"].standard_error, 1e-3)
    assert abs(found["log_evidence"].mean - 1) < 0.02
    np.testing.assert_allclose(found["log_z"], 1, atol=1e-4)
    # E[w²] / E[w]² = Π s² / (v √(2 s²/v − 1)) for scales s of the flow and variances v of the target.
    second = np.prod(4.0 / (variance * np.sqrt(2 * 4.0 / variance - 1)))
    np.testing.assert_allclose(found["effective_share"].mean, 1 / second, rtol=0.05)


@pytest.mark.thorough
def test_the_picture_shows_draws_of_the_target():
    inference = Joint(factor("z", distributions.standard_normal(2)))
    figure = targets.draw_target(inference, targets.banana, n=2000)(jax.random.key(0), {}, {})
    assert figure.axes[0].get_title(loc="left") == "target, 2,000 points"
    drawn = np.asarray(figure.axes[0].collections[0].get_offsets())
    grid = targets.quadrature(targets.banana)
    centre = grid.probability @ grid.points
    spread = np.sqrt(grid.probability @ (grid.points - centre) ** 2 / len(drawn))
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - centre), 4.3 * spread + 1e-3)
