"""Logits: against scipy, at the ends of the interval, normalization, and data that it must refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
from flows.oracle import check

from vifx import flows
from vifx.distributions import standard_normal

X = np.random.default_rng(0).uniform(size=(5, 2, 3))


@pytest.mark.first(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("alpha", [0.0, 1e-6, 0.05])
def test_both_directions_and_the_jacobian_agree(alpha, dtype):
    with jax.enable_x64(dtype == "float64"):
        check(flows.logit(alpha=alpha), jnp.asarray(X, dtype))
        check(flows.invert(flows.logit(alpha=alpha)), jnp.asarray(4 * X - 2, dtype))


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_it_is_the_logit_of_the_shrunk_data(x64, alpha):
    x = np.concatenate([X.reshape(5, 6), [[0.0, 1.0, 0.5, 1e-9, 1 - 1e-9, 0.25]]])
    z, log_det = flows.logit(alpha=alpha).forward({}, {}, jnp.asarray(x))
    u = alpha + (1 - 2 * alpha) * x
    np.testing.assert_allclose(z, scipy.special.logit(u), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(log_det, np.sum(np.log((1 - 2 * alpha) / (u * (1 - u))), axis=1), rtol=1e-10)
    back, log_det_back = flows.logit(alpha=alpha).inverse({}, {}, z)
    np.testing.assert_allclose(back, x, atol=1e-12)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-9)


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 0.05])
def test_single_precision_near_the_ends(alpha):
    """Errors of a few rounding units of the result, with single-precision inputs taken as exact."""
    x = np.array([0.0, 1e-30, 1e-8, 2.0**-16, 0.5, 1 - 2.0**-16, 1 - 2.0**-24, 1.0], np.float32)[:, None]
    z, log_det = flows.logit(alpha=alpha).forward({}, {}, jnp.asarray(x))
    low = np.float64(alpha) + (1 - 2 * np.float64(alpha)) * x
    high = np.float64(alpha) + (1 - 2 * np.float64(alpha)) * (1 - np.float64(x))
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(z, np.log(low) - np.log(high), rtol=4 * eps, atol=4 * eps)
    expected = np.log1p(-2 * np.float64(alpha)) - np.log(low) - np.log(high)
    np.testing.assert_allclose(log_det, expected[:, 0], rtol=6 * eps)


@pytest.mark.thorough
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_its_density_is_normalized(x64, alpha):
    """Over the open interval that samples can be in, which is a little wider than [0, 1]."""
    flow = flows.Flow(standard_normal(1), flows.logit(alpha=alpha))
    margin = alpha / (1 - 2 * alpha)
    density = lambda x: float(jnp.exp(flow.log_prob({}, {}, jnp.full((1, 1), x))[0]))  # noqa: E731
    total, _ = scipy.integrate.quad(density, -margin + 1e-12, 1 + margin - 1e-12, epsabs=1e-8)
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    drawn = flow.sample(jax.random.key(0), {}, {}, 1000)
    assert float(drawn.min()) > -margin
    assert float(drawn.max()) < 1 + margin


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: flows.logit().forward({}, {}, 255 * x), r"data in \[0, 1\], and exactly in \(-0.05555.*dequantize"),
        (lambda x: flows.logit().forward({}, {}, 2 * x - 1), "got values from -1.0 to 1.0"),
        (lambda x: flows.logit().forward({}, {}, x.at[0, 0].set(jnp.nan)), "got values from nan"),
        (lambda x: flows.logit(alpha=0.0).forward({}, {}, x), r"needs data in \(0, 1\), got values from 0.0"),
        (lambda x: flows.chain(flows.logit(), flows.actnorm()).init(jax.random.key(0), 255 * x), "got values from 0.0"),
        (lambda x: flows.logit(alpha=0.5), r"alpha must be a number in \[0, 0.5\), got 0.5"),
        (lambda x: flows.logit(alpha=-0.1), r"alpha must be a number in \[0, 0.5\), got -0.1"),
    ],
)
def test_data_and_settings_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.linspace(0.0, 1.0, 6).reshape(3, 2))


def test_data_out_of_range_that_cannot_be_seen_have_density_zero():
    z, log_det = jax.jit(flows.logit().forward)({}, {}, jnp.array([[0.5, 1.2], [0.5, 0.5]]))
    np.testing.assert_array_equal(z, np.zeros((2, 2)))
    np.testing.assert_allclose(log_det, [-np.inf, 2 * np.log(0.9 / 0.25)], rtol=1e-6)
