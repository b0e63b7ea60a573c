"""What certificates are of: exact likelihoods, decoders with a declared noise; and what they refuse."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.known_models import affine
from evaluation.test_likelihood_bounds import X, model, normal, rough
from numpyro.distributions import constraints
from scipy.stats import multivariate_normal

import vifx
from vifx import em, evaluation, flows
from vifx.core.factor import evidence, factor, implicit, transformed
from vifx.core.joint import Joint
from vifx.verification import tabular

SHORT = {"temperatures": 10, "chains": 4, "leapfrog": 2, "batch_size": 100}
CLUSTERS = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)


def test_a_flow_is_exact():
    generative = Joint(transformed("x", vifx.standard_normal(4), flows.scale(), name="flow"))
    params, state = generative.init(jax.random.key(0), {"x": jnp.asarray(X)})
    params = jax.tree.map(lambda leaf: leaf + 0.3, params)
    found = evaluation.certify(jax.random.key(0), Joint(evidence("x")), generative, params, state, {"x": X})
    expected = sum(generative.log_prob(params, state, {"x": jnp.asarray(X)}).values())
    np.testing.assert_allclose(found.below.values, expected, rtol=1e-5)
    assert (found.kind, found.width, found.unreliable) == ("exact", 0.0, "")
    assert found.lower == pytest.approx(float(np.mean(expected)), rel=1e-5)
    bits = -found.lower / 4 / math.log(2)
    assert found.bits_per_dim == pytest.approx((bits, bits), rel=1e-6)
    assert dataclasses.replace(found, offset=math.log(2)).bits_per_dim[0] == pytest.approx(bits + 1, rel=1e-6)
    assert "exact: no estimate" in str(found)
    np.testing.assert_allclose(found.per_example[:, 0], found.per_example[:, 1], rtol=1e-7)


@pytest.mark.thorough
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_an_exact_posterior_is_exact_whatever_its_temperature(temperature):
    plain = em.mixture(em.gaussian, 3)
    fit = em.fit(jax.random.key(0), plain, CLUSTERS, restarts=1, steps=3)
    posterior = em.exact_posterior(plain.generative, "z | x", temperature=temperature)
    found = evaluation.certify(
        jax.random.key(0), Joint(evidence("x"), posterior), plain.generative, fit.params, fit.state, {"x": CLUSTERS}
    )
    np.testing.assert_allclose(found.below.values, fit.log_prob(CLUSTERS), rtol=1e-4, atol=1e-4)
    assert (found.kind, found.width) == ("exact", 0.0)


@pytest.mark.thorough
def test_an_estimated_log_determinant_is_not_called_exact():
    """The trace of a continuous flow, by one random direction: unbiased, and the interval holds the exact one."""
    made = {
        how: Joint(transformed("x", vifx.standard_normal(2), flows.cnf(hidden=(8,), trace=how), name="flow"))
        for how in ("exact", "hutchinson")
    }
    params, state = made["exact"].init(jax.random.key(0), {"x": jnp.asarray(CLUSTERS)})
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.cos(jnp.arange(leaf.size).reshape(leaf.shape)), params)
    exact, noisy = (
        evaluation.certify(jax.random.key(1), Joint(evidence("x")), joint, params, state, {"x": CLUSTERS})
        for joint in made.values()
    )
    assert exact.kind == "exact"
    assert noisy.kind == "estimated log-determinant"
    assert noisy.lower - noisy.slack < exact.lower < noisy.upper + noisy.slack
    assert 0 < noisy.width < 1


def test_a_generator_gets_its_one_noise():
    """x = shift + scale·z with the noise σ: N(shift, scale² + σ²), each coordinate for itself."""
    generative, params, state = affine(latent=2, shift=0.5, scale=2.0)
    settings = {**SHORT, "temperatures": 60, "chains": 16, "noise": 1.5}
    inference = Joint(evidence("x"))
    found = evaluation.certify(jax.random.key(0), inference, generative, params, state, {"x": CLUSTERS}, **settings)
    covariance = (4 + 2.25) * np.eye(2)
    truth = multivariate_normal([0.5, 0.5], covariance).logpdf(CLUSTERS)
    assert found.lower <= truth.mean() <= found.upper
    assert found.width < 0.6
    assert found.annealed.start == "prior"
    np.testing.assert_allclose(found.below.mean, truth.mean(), atol=0.05)
    assert "the observation noise σ = 1.5 that was declared" in str(found)
    drawn = np.asarray(found.simulated.split["x"])
    np.testing.assert_allclose(drawn.var(), 6.25, rtol=0.5)


@pytest.mark.thorough
def test_what_cannot_be_certified_says_why():
    key, split = jax.random.key(0), {"x": CLUSTERS}
    generative, params, state = affine()
    with pytest.raises(ValueError, match=r"noise must be given, since δ generator\(x \| z\) has no density"):
        evaluation.certify(key, Joint(evidence("x")), generative, params, state, split)
    with pytest.raises(ValueError, match="noise must be left out"):
        evaluation.certify(key, *model(rough), {"x": X}, noise=0.1)
    with pytest.raises(ValueError, match="noise must be a finite number > 0"):
        evaluation.certify(key, Joint(evidence("x")), generative, params, state, split, noise=0.0)
    target = Joint(vifx.target("z", lambda z: -jnp.sum(z**2, axis=-1)))
    with pytest.raises(ValueError, match="has no evidence"):
        evaluation.certify(key, Joint(factor("z", vifx.standard_normal(2))), target, {}, {}, split)
    with pytest.raises(ValueError, match="chains must be even"):
        evaluation.certify(key, *model(rough), {"x": X}, chains=3)
    with pytest.raises(ValueError, match="confidence must be a number in"):
        evaluation.certify(key, *model(rough), {"x": X}, confidence=1.0)
    table = Joint(factor("z", tabular(states=3), name="prior"), factor("x | z", tabular(3, states=4), name="decoder"))
    encoder = Joint(evidence("x"), factor("z | x", tabular(4, states=3), name="encoder"))
    digits = {"x": np.arange(24, dtype=np.int32) % 4}
    first, more = table.init(key, {}, examples=2), encoder.init(key, {"x": jnp.asarray(digits["x"])})
    params, state = {**first[0], **more[0]}, {**first[1], **more[1]}
    with pytest.raises(ValueError, match=r"prior\(z\) is discrete, and annealing moves along gradients; sum it"):
        evaluation.annealed_importance(key, encoder, table, params, state, digits)
    summed = Joint(evidence("x"), em.exact_posterior(table, "z | x"))
    assert evaluation.certify(key, summed, table, params, state, digits).kind == "exact"
    bare = Joint(evidence("x"), implicit("z | x", lambda x: x[:, :2]))
    with pytest.raises(ValueError, match="is none; use start='prior'"):
        evaluation.annealed_importance(key, bare, *model(rough)[1:], {"x": X})
    with pytest.raises(ValueError, match="start must be one of"):
        evaluation.annealed_importance(key, *model(rough), {"x": X}, start="middle")
    alone = Joint(factor("x", vifx.standard_normal(2)))
    with pytest.raises(ValueError, match="has no latent, so log q"):
        evaluation.annealed_importance(key, Joint(evidence("x")), alone, {}, {}, split)
    other = Joint(evidence("x"), factor("z | x", lambda x: Half(x[:, :2])))
    with pytest.raises(ValueError, match="cannot be mapped onto real numbers for both joints"):
        evaluation.annealed_importance(key, other, *model(rough)[1:], {"x": X})


class Half:
    """Positive numbers, where the prior is of all of them."""

    support, event_shape = constraints.independent(constraints.positive, 1), (2,)

    def __init__(self, like):
        self.like = like

    def sample(self, key, sample_shape=()):
        return jnp.exp(jax.random.normal(key, (*sample_shape, *self.like.shape)))

    def log_prob(self, value):
        return -jnp.sum(jnp.log(value) ** 2 / 2 + jnp.log(value), axis=-1) - math.log(2 * math.pi)


@pytest.mark.thorough
def test_what_is_unreliable_is_called_so():
    few = {"x": X[:10]}
    found = evaluation.certify(jax.random.key(0), *model(rough), few, **SHORT)
    assert found.unreliable.startswith("of 10 examples, given or simulated, nothing can be certified")
    assert "unreliable: of 10" in str(found)
    assert repr(found).endswith(", annealed, unreliable)")
    wide = evaluation.certify(jax.random.key(0), *model(rough), {"x": X}, **SHORT, widest=0.05)
    assert "nats wide, more than 0.05" in wide.unreliable or "nats apart, more than 0.05" in wide.unreliable
    # An encoder that misses the posterior by far, and two temperatures: the gap shows it.
    off = lambda x: normal(jnp.zeros_like(x[:, :2]) + 4, jnp.float32(0.1))  # noqa: E731
    bad = evaluation.certify(jax.random.key(0), *model(off), {"x": X}, **{**SHORT, "temperatures": 2})
    assert "nats apart, more than 1" in bad.unreliable


@pytest.mark.thorough
def test_weights_of_examples_weigh_both_ends():
    weights = np.arange(len(X), dtype=np.float32)
    settings = {**SHORT, "temperatures": 40, "simulations": 20}
    found = evaluation.certify(jax.random.key(0), *model(rough), {"x": X, "@weights": weights}, **settings)
    shares = weights / weights.sum()
    assert found.lower == pytest.approx(np.sum(shares * found.below.values) - found.slack, rel=1e-6)
    assert found.slack == pytest.approx(shares.max() * math.log(40), rel=1e-6)
    progress = []
    again = evaluation.certify(
        jax.random.key(0), *model(rough), {"x": X}, **settings, observe=lambda *done: progress.append(done)
    )
    assert again.slack == pytest.approx(math.log(40) / len(X), rel=1e-6)
    assert progress[-1] == (2 * 37 + 60, 2 * 37 + 60)
    assert again.budget.gradients == 2 * (40 * (37 + 20) * 4 + (40 + 10) * (2 * 37 + 4 * 20))
    assert again.bits_per_dim == pytest.approx((-again.upper / 4 / math.log(2), -again.lower / 4 / math.log(2)))
    assert dataclasses.replace(again, correction=1.0).upper == pytest.approx(again.upper - again.correction + 1)
