"""Bounds on mutual information, on correlated Gaussians whose information is known, with the side that each keeps."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import vifx
from vifx import evaluation
from vifx.distributions import Normal

RHO, DIMENSIONS = 0.8, 2
KNOWN = -0.5 * DIMENSIONS * math.log(1 - RHO**2)


def scores(seed, n, *, noise=0.0):
    """log p(z_i | x_j) of correlated standard normals, and the log-density ratio; `noise` spoils the score."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, DIMENSIONS))
    z = RHO * x + math.sqrt(1 - RHO**2) * generator.normal(size=x.shape)
    log_densities = norm.logpdf(z[:, None], RHO * x[None], math.sqrt(1 - RHO**2)).sum(-1)
    ratio = log_densities - norm.logpdf(z).sum(-1)[:, None]
    return jnp.asarray(log_densities), jnp.asarray(ratio + noise * generator.normal(size=ratio.shape))


def trials(function, count=200, n=64, noise=0.0):
    """Mean and standard error over independent draws."""
    found = np.array([float(function(*scores(seed, n, noise=noise))) for seed in range(count)])
    return found.mean(), found.std(ddof=1) / math.sqrt(count)


def test_each_by_its_definition():
    log_densities, ratio = scores(0, 7)
    s, apart = np.asarray(ratio), ~np.eye(7, dtype=bool)
    expected = np.mean(np.diag(s) - logsumexp(s, axis=1)) + math.log(7)
    assert float(evaluation.info_nce(ratio)) == pytest.approx(expected, rel=1e-5)
    assert float(evaluation.nwj(ratio)) == pytest.approx(np.diag(s).mean() - np.exp(s[apart] - 1).mean(), rel=1e-5)
    expected = np.diag(s).mean() - np.log(np.exp(s[apart]).mean())
    assert float(evaluation.donsker_varadhan(ratio)) == pytest.approx(expected, rel=1e-5)
    low, high = evaluation.information_bounds(log_densities)
    assert low == pytest.approx(float(evaluation.info_nce(log_densities)), rel=1e-5)
    d = np.asarray(log_densities)
    others = [logsumexp(np.delete(d[i], i)) - math.log(6) for i in range(7)]
    assert high == pytest.approx(np.mean(np.diag(d) - others), rel=1e-5)


@pytest.mark.thorough
def test_at_the_best_score_each_is_the_information_or_on_its_side(x64):
    """NWJ is unbiased at any n; InfoNCE and leave-one-out enclose, and close in with n; DV is above, and no bound."""
    mean, error = trials(lambda _, ratio: evaluation.nwj(1 + ratio))
    assert abs(mean - KNOWN) < 4.3 * error
    gaps = {}
    for n in (8, 64):
        low, low_error = trials(lambda log_densities, _: evaluation.information_bounds(log_densities).at_least, n=n)
        high, high_error = trials(lambda log_densities, _: evaluation.information_bounds(log_densities).at_most, n=n)
        assert low < KNOWN + 4.3 * low_error
        assert high > KNOWN - 4.3 * high_error
        gaps[n] = high - low
    assert gaps[64] < 0.5 * gaps[8]
    ratios = jnp.stack([scores(seed, 4)[1] for seed in range(3000)])
    few = np.asarray(jax.jit(jax.vmap(evaluation.donsker_varadhan))(ratios))
    assert few.mean() > KNOWN + 4.3 * few.std() / math.sqrt(3000)  # above the information itself, with the true ratio


@pytest.mark.thorough
def test_a_spoilt_score_is_below_and_the_order_holds(x64):
    """The controls that must fail: with noise in the score, no lower bound reaches the information."""
    for function in (lambda _, ratio: evaluation.nwj(1 + ratio), lambda _, ratio: evaluation.info_nce(ratio)):
        mean, error = trials(function, noise=1.0)
        assert mean < KNOWN - 4.3 * error
    _, ratio = scores(0, 64)
    assert float(evaluation.nwj(ratio)) <= float(evaluation.donsker_varadhan(ratio))
    shifted = [float(evaluation.donsker_varadhan(ratio + c)) for c in (0.0, 3.0)]
    assert shifted[0] == pytest.approx(shifted[1], rel=1e-9)
    assert float(evaluation.nwj(ratio + 4.0)) < float(evaluation.nwj(ratio + 1.0))


def test_info_nce_saturates_at_the_logarithm_of_the_number():
    certain = 1e3 * jnp.eye(50)
    assert float(evaluation.info_nce(certain)) == pytest.approx(math.log(50), rel=1e-6)
    assert evaluation.information_bounds(certain).at_most > 900
    assert float(evaluation.info_nce(jnp.zeros((50, 50)))) == pytest.approx(0, abs=1e-5)


@pytest.mark.thorough
def test_they_have_gradients():
    """The optimum of the DV bound in a scale of the true ratio is the scale 1."""
    _, ratio = scores(0, 2000)
    slope = jax.grad(lambda scale: evaluation.donsker_varadhan(scale * ratio))
    assert float(slope(0.8)) > 0.02
    assert float(slope(1.3)) < -0.02


def correlated(scale=1.0):
    """x ~ N(0, I), z | x ~ N(ρ x, 1 − ρ²): with `scale` 1 the aggregated posterior is the prior."""
    noise = math.sqrt(1 - RHO**2)
    inference = vifx.Joint(
        vifx.evidence("x"),
        vifx.factor("z | x", lambda x: Normal(scale * RHO * x, jnp.full_like(x, noise)).to_event(1)),
    )
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(DIMENSIONS)),
        vifx.factor("x | z", lambda z: Normal(z, jnp.ones_like(z)).to_event(1)),
    )
    return inference, generative, {"x": np.random.default_rng(0).normal(size=(1500, DIMENSIONS)).astype(np.float32)}


@pytest.mark.thorough
def test_an_encoder_needs_no_critic():
    inference, _, split = correlated()
    draws, log_densities = evaluation.posterior_log_densities(jax.random.key(0), inference, {}, {}, split)
    i, j = 3, 40
    expected = norm.logpdf(draws[i], RHO * split["x"][j], math.sqrt(1 - RHO**2)).sum()
    assert log_densities[i, j] == pytest.approx(expected, rel=1e-5)
    low, high = evaluation.encoder_information(jax.random.key(0), inference, {}, {}, split)
    assert low < high
    assert low == pytest.approx(KNOWN, rel=0.06)
    assert high == pytest.approx(KNOWN, rel=0.06)


def test_wrong_scores_and_latents_are_refused():
    with pytest.raises(ValueError, match=r"scores must be a matrix \[n, n\] with n ≥ 2, got shape \(3, 4\)"):
        evaluation.nwj(np.zeros((3, 4)))
    inference = vifx.Joint(
        vifx.evidence("x"),
        vifx.factor("z", vifx.standard_normal(2)),
        vifx.factor("w | z, x", lambda z, x: Normal(z, jnp.ones_like(z)).to_event(1)),
    )
    split = {"x": np.zeros((4, 2), np.float32)}
    with pytest.raises(ValueError, match=r"evidence alone as its parents, got 'w' given \['z'\]"):
        evaluation.encoder_information(jax.random.key(0), inference, {}, {}, split, variable="w")
    deterministic = vifx.Joint(vifx.evidence("x"), vifx.implicit("z | x", lambda x: x))
    with pytest.raises(ValueError, match="must have a density; it is a deterministic map"):
        evaluation.encoder_information(jax.random.key(0), deterministic, {}, {}, split)
