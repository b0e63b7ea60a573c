"""The rate–distortion curve against reverse water-filling, which linear autoencoders reach on Gaussian data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vifx
from vifx import data, evaluation
from vifx.core.types import Net
from vifx.distributions import Normal

SPECTRUM = np.array([4.0, 1.0, 0.25])
SCALE = 0.5  # of the decoder
BETAS = (0.5, 2.0, 8.0)


def water_filling(level):
    """Rate in nats, and mean squared distortion, of a Gaussian with these variances at a water level."""
    kept = np.minimum(level, SPECTRUM)
    return 0.5 * np.log(SPECTRUM / kept).sum(), kept.sum()


def linear(scales):
    """x -> N(w·x, s), with a free or a fixed standard deviation."""

    def init(key, x):
        own = {"spread": jnp.zeros(3)} if scales is None else {}
        return {"weight": jnp.full(3, 0.5), **own}, {}

    def apply(params, state, x, key=None, train=False):
        spread = jnp.exp(params["spread"]) if scales is None else jnp.full(3, scales)
        mean = x * params["weight"][None]
        return Normal(mean, jnp.broadcast_to(spread, mean.shape)).to_event(1), state

    return Net(init=init, apply=apply)


def autoencoder():
    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", linear(None), name="encoder"))
    prior = vifx.factor("z", vifx.standard_normal(3))
    return inference, vifx.Joint(prior, vifx.factor("x | z", linear(SCALE), name="decoder"))


def gaussian(seed, n):
    """Rows whose second moments are the spectrum exactly."""
    x = np.random.default_rng(seed).normal(size=(n, 3))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / n)).T
    return {"x": (x * np.sqrt(SPECTRUM)).astype(np.float32)}


@pytest.fixture(scope="module")
def found():
    source = data.Resident(gaussian(0, 2048), 512, 0)
    rate = optax.exponential_decay(0.03, 100, 0.6)
    return evaluation.rate_distortion(
        jax.random.key(0),
        *autoencoder(),
        source,
        gaussian(1, 2000),
        betas=BETAS[::-1],
        steps=900,
        optimizer=optax.adam(rate),
    )


@pytest.mark.thorough
def test_each_weight_has_the_water_level_of_its_slope(found):
    """D in nats is ‖x − x̂‖²/2s² and a constant, so that dD/dR = −β is the level θ = β s²."""
    np.testing.assert_array_equal(found.betas, BETAS)
    constant = 1.5 * np.log(2 * np.pi * SCALE**2)
    for beta, rate, distortion in zip(found.betas, found.rate, found.distortion, strict=True):
        expected_rate, squared = water_filling(beta * SCALE**2)
        assert rate.mean == pytest.approx(expected_rate, rel=0.03, abs=0.02)
        assert distortion.mean == pytest.approx(squared / (2 * SCALE**2) + constant, rel=0.03, abs=0.05)


@pytest.mark.thorough
def test_the_curve_is_convex_and_the_elbo_best_at_one(found):
    rate, distortion = (np.array([e.mean for e in values]) for values in (found.rate, found.distortion))
    assert (np.diff(rate) < 0).all()
    slopes = np.diff(distortion) / np.diff(rate)
    assert -BETAS[1] < slopes[0] < -BETAS[0]
    assert -BETAS[2] < slopes[1] < -BETAS[1]
    assert np.argmax(found.elbo) != 2
    np.testing.assert_allclose(found.elbo, -(rate + distortion), rtol=1e-6)
    figure = evaluation.rate_distortion_curve(found)
    lines = figure.axes[0].lines
    drawn = sorted(zip(*lines[0].get_data(), strict=True))
    np.testing.assert_allclose(drawn, sorted(zip(rate, distortion, strict=True)), rtol=1e-6)
    for beta, line in zip(found.betas, lines[1:4], strict=True):
        (r0, r1), (d0, d1) = line.get_data()
        assert (d1 - d0) / (r1 - r0) == pytest.approx(-beta, rel=1e-6)


def test_bad_weights_are_refused():
    source = data.Resident(gaussian(0, 64), 32, 0)
    for betas, message in (
        ((1.0,), "two or more different"),
        ((1.0, 1.0), "two or more different"),
        ((0.0, 1.0), "> 0"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluation.rate_distortion(jax.random.key(0), *autoencoder(), source, gaussian(1, 8), betas=betas)
    evidence = vifx.Joint(vifx.evidence("x"))
    density = vifx.Joint(vifx.factor("x", vifx.standard_normal(3)))
    with pytest.raises(ValueError, match="must have a latent that inference encodes, got the terms nll/x alone"):
        evaluation.rate_distortion(jax.random.key(0), evidence, density, source, gaussian(1, 8))
