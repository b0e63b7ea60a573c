"""The parts of the rate, and the bounds on the aggregated posterior's divergence, where they are known."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from evaluation.test_information import DIMENSIONS, KNOWN, RHO, correlated

import vifx
from vifx import evaluation
from vifx.evaluation.latents import Codes

NOISE = 0.6
MIXING = np.array([[1.0, 0.0], [0.9, 0.5]])
GAUSSIAN = MIXING @ MIXING.T + NOISE**2 * np.eye(2)


def codes(n=3000, shift=0.3):
    """Posteriors N(A x + shift, σ²) of standard normal x: p(z) = N(shift, A Aᵀ + σ²)."""
    generator = np.random.default_rng(0)
    mean = generator.normal(size=(n, 2)) @ MIXING.T + shift
    variance = np.full_like(mean, NOISE**2)
    return Codes(mean, variance, mean + NOISE * generator.normal(size=mean.shape))


def test_the_three_parts_are_known_and_their_sum_is_the_rate():
    found = evaluation.rate_parts(codes())
    spread = np.diag(GAUSSIAN)
    information = 0.5 * math.log(np.linalg.det(GAUSSIAN) / NOISE**4)
    total_correlation = -0.5 * math.log(np.linalg.det(GAUSSIAN) / spread.prod())
    each = 0.5 * (spread + 0.3**2 - 1 - np.log(spread))
    assert found.information == pytest.approx(information, rel=0.05)
    assert found.total_correlation == pytest.approx(total_correlation, rel=0.15)
    np.testing.assert_allclose(found.dimension_wise, each, rtol=0.15)
    total = found.information + found.total_correlation + found.dimension_wise.sum()
    assert total == pytest.approx(evaluation.kl_per_latent(*codes()[:2]).sum(), rel=0.03)


@pytest.mark.thorough
def test_the_density_of_the_mixture_by_loops():
    """Of more examples than there are in memory at a time."""
    few = codes(70)
    densities = np.array(
        [
            [np.exp(-((z - m) ** 2) / (2 * NOISE**2)) / math.sqrt(2 * math.pi) / NOISE for m in few.mean]
            for z in few.sample
        ]
    )
    own = np.log([densities[i, i].prod() for i in range(70)])
    joint, marginal = np.log(densities.prod(2).mean(1)), np.log(densities.mean(1))
    found = evaluation.rate_parts(few)
    assert found.information == pytest.approx(np.mean(own - joint), rel=1e-10)
    assert found.total_correlation == pytest.approx(np.mean(joint - marginal.sum(1)), rel=1e-10)


def test_the_gap_of_moments():
    covariance = np.array([[1.5, 0.2], [0.2, 0.7]])
    expected = 0.5 * (2.2 + 0.25 - math.log(np.linalg.det(covariance)) - 2)
    assert evaluation.gaussian_gap([0.5, 0.0], covariance) == pytest.approx(expected, rel=1e-12)
    assert evaluation.gaussian_gap(np.zeros(3), np.eye(3)) == 0
    assert evaluation.gaussian_gap(np.zeros(2), np.zeros((2, 2))) == math.inf


@pytest.mark.thorough
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_the_bounds_enclose_what_is_known(scale):
    """z | x ~ N(c ρ x, 1 − ρ²): the information and the divergence of N(0, c²ρ² + 1 − ρ²) from N(0, 1)."""
    inference, generative, split = correlated(scale)
    measured = evaluation.measure_information(inference, generative, split, examples=1500)(jax.random.key(0), {}, {})
    spread = scale**2 * RHO**2 + 1 - RHO**2
    information = 0.5 * DIMENSIONS * math.log(spread / (1 - RHO**2))
    divergence = 0.5 * DIMENSIONS * (spread - 1 - math.log(spread))
    assert information == pytest.approx(KNOWN) or scale != 1
    for name, value in (("information/z", information), ("aggregated_kl/z", divergence)):
        low, high = float(measured[f"{name}_at_least"]), float(measured[f"{name}_at_most"])
        assert low - 0.07 <= value <= high + 0.07
        assert high - low < 0.2
    variance = np.full_like(split["x"], 1 - RHO**2)
    # A few examples of a latent with much information: only the moments say that the prior is missed.
    few = evaluation.measure_information(inference, generative, split, examples=3)(jax.random.key(0), {}, {})
    assert few["information/z_at_least"] <= math.log(3)
    for each in (measured, few):  # what one is at most and the other at least is the rate
        sums = (
            each["information/z_at_most"] + each["aggregated_kl/z_at_least"],
            each["information/z_at_least"] + each["aggregated_kl/z_at_most"],
        )
        assert sums[0] == pytest.approx(sums[1], rel=1e-6)
    moments = evaluation.gaussian_gap(*evaluation.aggregated_posterior(scale * RHO * split["x"], variance))
    assert few["aggregated_kl/z_at_least"] >= moments
    assert moments == pytest.approx(divergence, rel=0.1, abs=0.02)
    if scale > 1:
        assert few["aggregated_kl/z_at_least"] == pytest.approx(moments, rel=1e-4)


def test_what_has_no_such_density_is_not_measured():
    inference, generative, split = correlated()
    deterministic = vifx.Joint(vifx.evidence("x"), vifx.implicit("z | x", lambda x: x))
    assert evaluation.measure_information(deterministic, generative, split)(jax.random.key(0), {}, {}) == {}
    weighted = {**split, "@weights": np.ones(1500)}
    assert evaluation.measure_information(inference, generative, weighted)(jax.random.key(0), {}, {}) == {}
    with pytest.raises(ValueError, match=r"two examples or more.*smallest variance of 0"):
        evaluation.rate_parts(Codes(np.zeros((4, 2)), np.zeros((4, 2)), np.zeros((4, 2))))
