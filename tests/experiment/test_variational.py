"""What experiments measure, against a model that is solved on paper."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vifx
from vifx.distributions import Normal
from vifx.experiment import variational

NOISE = 0.5


def linear_gaussian(widen: float = 1.0):
    """z ~ N(0, I), x = z + noise: the posterior is N(x/(1+s²), s²/(1+s²)), the evidence N(0, 1+s²)."""
    scale = np.sqrt(NOISE**2 / (1 + NOISE**2)) * widen
    inference = vifx.Joint(
        vifx.evidence("x"),
        vifx.factor("z | x", lambda x: Normal(x / (1 + NOISE**2), jnp.full_like(x, scale)).to_event(1)),
    )
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(3)),
        vifx.factor("x | z", lambda z: Normal(z, jnp.full_like(z, NOISE)).to_event(1)),
    )
    return inference, generative


@pytest.fixture
def split():
    return {"x": np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) * np.sqrt(1 + NOISE**2)}


def test_bounds_are_the_log_likelihood_at_the_exact_posterior(split):
    measure = variational.bounds(*linear_gaussian(), split, samples=(1, 20))
    found = measure(jax.random.key(0), {}, {})
    exact = stats.norm(0, np.sqrt(1 + NOISE**2)).logpdf(split["x"]).sum(axis=1)
    for name in ("iwae/1", "iwae/20"):
        np.testing.assert_allclose(found[name].values, exact, rtol=1e-4, atol=1e-4)
    assert found["elbo"].mean == pytest.approx(-found["kl/z"].mean - found["nll/x"].mean, rel=1e-5)
    assert found["active_units"] == 3
    assert found["examples_for_iwae"] == 40


def test_bounds_order_when_the_encoder_is_wrong_and_take_the_first_examples(split):
    inference, generative = linear_gaussian(widen=1.7)
    found = variational.bounds(inference, generative, split, samples=(1, 50), examples=10)(jax.random.key(0), {}, {})
    exact = stats.norm(0, np.sqrt(1 + NOISE**2)).logpdf(split["x"]).sum(axis=1)[:10].mean()
    assert found["iwae/1"].mean < found["iwae/50"].mean < exact + 0.05
    assert found["iwae/50"].mean == pytest.approx(exact, abs=0.1)
    assert found["examples_for_iwae"] == len(found["iwae/1"].values) == 10
    assert len(found["elbo"].values) == 40


def test_monitor_is_the_loss_over_the_split(split):
    inference, generative = linear_gaussian()
    objective = vifx.kl(inference, generative, samples=64)
    found = variational.monitor(objective, split)(jax.random.key(0), {}, {})
    exact = -stats.norm(0, np.sqrt(1 + NOISE**2)).logpdf(split["x"]).sum(axis=1)
    assert found["loss"].mean == pytest.approx(exact.mean(), abs=0.05)


def test_sampler_draws_means_scaled_and_tempered():
    _, generative = linear_gaussian()
    draw = variational.sampler(generative, white=2.0)
    key = jax.random.key(0)
    images = draw(key, {}, {}, 2000, 1.0)
    assert images.std() == pytest.approx(0.5, rel=0.05)
    np.testing.assert_allclose(draw(key, {}, {}, 2000, 0.5), images * 0.5, rtol=1e-5)
