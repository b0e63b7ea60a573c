"""Annealing and certificates against models whose log-likelihood is known: linear-Gaussian ones, and mixtures."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
import pytest
from evaluation.test_likelihood_bounds import COVARIANCE, LOG_LIKELIHOOD, SHIFT, X, exact, model, normal, rough
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import vifx
from vifx import evaluation
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.evaluation.annealing import Ladder, Path, backward, forward, simulated
from vifx.evaluation.certificate import correction_of, slack_of

SHORT = {"temperatures": 12, "chains": 8, "leapfrog": 3, "batch_size": 1000}


def mixture():
    """z ~ N(0, 1) and x | z an even mixture of N(z − 2, 1/4) and N(z + 2, 1/4): a posterior with two modes at x = 0."""

    def decoder(z):
        centres = jnp.stack([z[:, 0] - 2, z[:, 0] + 2], axis=-1)[:, None]
        even = numpyro.Categorical(logits=jnp.zeros_like(centres))
        return numpyro.MixtureSameFamily(even, numpyro.Normal(centres, 0.5)).to_event(1)

    inference = Joint(evidence("x"), factor("z | x", lambda x: normal(0.1 * x, jnp.float32(1.5))))
    generative = Joint(factor("z", vifx.standard_normal(1)), factor("x | z", decoder))
    return inference, generative, {}, {}


class Positive:
    """A log-normal around one for each example, or the density z exp(−z) without parents, on positive numbers."""

    support, event_shape = numpyro.constraints.independent(numpyro.constraints.positive, 1), (1,)

    def __init__(self, like=None):
        self.like = like

    def sample(self, key, sample_shape=()):
        if self.like is None:
            return jax.random.gamma(key, 2.0, (*sample_shape, 1))
        return jnp.exp(jax.random.normal(key, (*sample_shape, *self.like.shape)))

    def log_prob(self, value):
        log = jnp.log(value[..., 0])
        return log - value[..., 0] if self.like is None else -(log**2) / 2 - log - math.log(2 * math.pi) / 2


def mixture_log_prob(x):
    spread = math.sqrt(1.25)
    return np.logaddexp(norm.logpdf(x[:, 0], -2, spread), norm.logpdf(x[:, 0], 2, spread)) - math.log(2)


def linear_log_prob(x):
    return multivariate_normal(SHIFT, COVARIANCE).logpdf(x)


@pytest.mark.first(1)
@pytest.mark.parametrize(("start", "temperatures"), [("encoder", 60), ("prior", 150)])
def test_annealing_reaches_the_likelihood_of_a_linear_gaussian_model(start, temperatures):
    settings = {"temperatures": temperatures, "chains": 16, "leapfrog": 3, "batch_size": 100, "start": start}
    found = evaluation.annealed_importance(jax.random.key(0), *model(rough), {"x": X}, **settings)
    np.testing.assert_allclose(found.bound.mean, LOG_LIKELIHOOD.mean(), atol=0.05)
    assert np.abs(found.bound.values - LOG_LIKELIHOOD).max() < 0.5
    # The weights are unbiased: their mean over examples and chains is one, within their own error.
    ratios = np.exp(found.log_weights - LOG_LIKELIHOOD[:, None]).reshape(-1)
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / math.sqrt(len(ratios))
    assert abs(found.acceptance.mean() - 0.65) < 0.15
    assert found.gradients == len(X) * 16 * temperatures * 3
    # The ends are draws of the posterior: their weighted means are known.
    posterior = np.asarray(exact(jnp.asarray(X)).mean)
    shares = np.exp(found.log_weights - logsumexp(found.log_weights, axis=1, keepdims=True))
    error = np.sum(shares[..., None] * found.ends, axis=1) - posterior
    assert np.abs(error.mean(axis=0)).max() < 0.1
    effective = 1 / np.sum(shares**2, axis=1)
    np.testing.assert_allclose(found.effective_samples.values, effective, rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("spacing", ["adaptive", "sigmoid", "linear"])
def test_every_spacing_goes_from_zero_to_one(spacing):
    found = evaluation.annealed_importance(
        jax.random.key(0), *model(rough), {"x": X}, **SHORT, spacing=spacing, start="prior"
    )
    betas = found.temperatures
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 13)
    assert (np.diff(betas) > 0).all()
    if spacing == "linear":
        np.testing.assert_allclose(np.diff(betas), 1 / 12, rtol=1e-4)
    if spacing == "sigmoid":
        np.testing.assert_allclose(betas[6], 0.5, rtol=1e-4)
        assert np.diff(betas)[0] < 0.5 / 12 > np.diff(betas)[-1]
    if spacing == "adaptive":  # the variance of log q(x|z) is largest under the prior
        assert np.diff(betas)[0] < 0.5 / 12 < np.diff(betas)[-1]
    assert found.bound.mean < LOG_LIKELIHOOD.mean() + 0.2


@pytest.mark.thorough
def test_weights_are_unbiased_both_ways_however_badly_chains_mix():
    """E w = q(x) forward and E 1/w = 1/q(x) back, by three temperatures and one short step at each."""
    inference, generative, params, state = model(rough)
    path = Path(inference, generative, "encoder", ("z",), 2, 1)
    betas = jnp.array([0.0, 0.1, 0.4, 1.0])
    ladder = Ladder(betas, jnp.full(3, 0.5))
    settings = (path, ladder, params, state)
    made, z = simulated(jax.random.key(0), path, params, state, {"x": X}, examples=20_000)
    truth = linear_log_prob(made["x"])[:, None]
    options = {"batch_size": 20_000, "observe": None}
    log_weights = forward(jax.random.key(1), *settings, made, **options)["log_weights"]
    back = backward(jax.random.key(2), *settings, made, z[:, None], settle=False, **options)
    together = logsumexp(np.concatenate([back, log_weights[:, :1]], axis=1), axis=1) - math.log(2)
    for ratio in (np.exp(log_weights - truth), np.exp(truth - back), np.exp(truth[:, 0] - together)):
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(ratio.size)
        assert ratio.std() / math.sqrt(ratio.size) < 0.03


@pytest.mark.thorough
def test_the_exact_posterior_needs_no_annealing():
    found = evaluation.annealed_importance(jax.random.key(0), *model(exact), {"x": X}, **SHORT)
    np.testing.assert_allclose(found.log_weights, np.tile(LOG_LIKELIHOOD[:, None], 8), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.effective_samples.values, 8, rtol=1e-3)


@pytest.mark.thorough
def test_results_do_not_depend_on_batches():
    settings = {**SHORT, "temperatures": 5}
    whole, parts = (
        evaluation.annealed_importance(
            jax.random.key(0), *model(rough), {"x": X}, **{**settings, "batch_size": size}
        ).log_weights
        for size in (1000, 7)
    )
    close = np.isclose(whole, parts, rtol=1e-3, atol=1e-3)
    assert close.mean() > 0.98  # rounding may turn a rejection into an acceptance


@pytest.mark.thorough
def test_hierarchy_and_evidence_that_is_given():
    """z₂ ~ N(y, 1), z₁ ~ N(z₂, 1), x ~ N(z₁, 1), so x ~ N(y, 3): two latents at once, given y."""
    inference = Joint(
        evidence("x", "y"),
        factor("z1 | x, y", lambda x, y: normal(0.5 * x + 0 * y, jnp.float32(1))),
        factor("z2 | z1, y", lambda z1, y: normal(0.3 * z1 + 0.5 * y, jnp.float32(1))),
    )
    generative = Joint(
        evidence("y"),
        factor("z2 | y", lambda y: normal(y, jnp.float32(1))),
        factor("z1 | z2", lambda z2: normal(z2, jnp.float32(1))),
        factor("x | z1", lambda z1: normal(z1, jnp.float32(1))),
    )
    y = np.linspace(-2, 2, len(X), dtype=np.float32)[:, None]
    split = {"x": X[:, :1], "y": y}
    expected = norm.logpdf(split["x"][:, 0], y[:, 0], math.sqrt(3))
    for start in ("encoder", "prior"):
        settings = {**SHORT, "temperatures": 40, "start": start}
        found = evaluation.annealed_importance(jax.random.key(0), inference, generative, {}, {}, split, **settings)
        np.testing.assert_allclose(found.bound.mean, expected.mean(), atol=0.05)
    sandwich = evaluation.bidirectional(
        jax.random.key(0), inference, generative, {}, {}, split, **{**SHORT, "temperatures": 40}, simulations=60
    )
    drawn = np.asarray(sandwich.split["x"])[:, 0]
    truth = norm.logpdf(drawn, np.resize(y[:, 0], 60), math.sqrt(3))
    np.testing.assert_allclose(sandwich.lower.mean, truth.mean(), atol=0.05)
    np.testing.assert_allclose(sandwich.upper.mean, truth.mean(), atol=0.05)


@pytest.mark.thorough
def test_latents_of_a_fixed_set_move_in_its_coordinates():
    """z ~ Gamma(2, 1) and x ~ N(z, 1): the integral by quadrature."""
    inference = Joint(evidence("x"), factor("z | x", lambda x: Positive(x)))
    generative = Joint(factor("z", Positive()), factor("x | z", lambda z: normal(z, jnp.float32(1))))
    x = np.linspace(-1, 4, 21, dtype=np.float32)[:, None]
    truth = [math.log(quad(lambda z, x=v: z * math.exp(-z) * norm.pdf(x, z), 0, 40)[0]) for v in x[:, 0]]
    for start in ("encoder", "prior"):
        settings = {**SHORT, "temperatures": 60, "start": start}
        found = evaluation.annealed_importance(jax.random.key(0), inference, generative, {}, {}, {"x": x}, **settings)
        np.testing.assert_allclose(found.bound.mean, np.mean(truth), atol=0.05)


def trials(certificate, count, size):
    """The certificates of disjoint blocks of examples and simulations, each as `certify` makes it of its block."""
    made = certificate.simulated
    for block in range(count):
        part = slice(block * size, (block + 1) * size)
        few = {
            name: evaluation.Estimate(getattr(made, name).values[part]) for name in ("lower", "upper", "approximate")
        }
        simulated = dataclasses.replace(made, **few)
        yield (
            part,
            dataclasses.replace(
                certificate,
                below=evaluation.Estimate(certificate.below.values[part]),
                above=evaluation.Estimate(certificate.above.values[part]),
                slack=slack_of(None, size, certificate.confidence),
                correction=correction_of(simulated.mixing, certificate.confidence),
                simulated=simulated,
            ),
        )


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("made", "log_prob", "draws"),
    [(lambda: model(rough), linear_log_prob, 4), (mixture, mixture_log_prob, 1)],
    ids=["linear-Gaussian", "mixture"],
)
def test_the_sandwich_holds_the_truth_in_200_trials(made, log_prob, draws):
    """200 certificates of 20 examples each, of data of another distribution than the model's and of its own."""
    joints, size, count = made(), 20, 200
    x = np.random.default_rng(1).normal(scale=1.5, size=(count * size, draws)).astype(np.float32)
    found = evaluation.certify(
        jax.random.key(0), *joints, {"x": x}, simulations=len(x), **{**SHORT, "temperatures": 15, "batch_size": 4000}
    )
    truth = log_prob(x)
    inside, on_simulated, singles = [], [], []
    drawn = log_prob(np.asarray(found.simulated.split["x"]))
    for part, each in trials(found, count, size):
        inside.append(each.lower <= truth[part].mean() <= each.upper)
        low, high = each.simulated.lower.mean - each.slack, each.simulated.upper.mean + each.slack
        on_simulated.append(low <= drawn[part].mean() <= high)
        singles.append((each.per_example[:, 0] <= truth[part]) & (truth[part] <= each.per_example[:, 1]))
    assert np.mean(inside) >= 0.95
    assert np.mean(on_simulated) >= 0.95
    assert np.mean(singles) >= 0.95
    # Without their slack, both bounds hold on average, and far from trivially.
    sandwich = found.simulated
    error = 3 * sandwich.gap.standard_error
    assert -0.15 < sandwich.lower.mean - drawn.mean() < error
    assert -error < sandwich.upper.mean - drawn.mean() < 0.15
