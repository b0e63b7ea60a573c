"""Location and scale given features: both directions, the normal density, and bad input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flows.oracle import check

from vifx import flows, nets
from vifx.distributions import standard_normal

X = np.random.default_rng(0).standard_normal((5, 3))
GIVEN = np.cos(X[:, :2])
BODY = nets.from_functions(lambda key, y: jnp.full((2, 4), 0.5, y.dtype), lambda p, y: jnp.tanh(y @ p))


def test_its_density_is_the_normal_one(x64):
    bijection = flows.conditional_affine(BODY)
    x, given = jnp.asarray(X), jnp.asarray(GIVEN)
    params, state = check(bijection, x, given)
    hidden = np.tanh(GIVEN @ np.asarray(params["body"]))
    loc, log_scale = np.split(hidden @ np.asarray(params["head"]["kernel"]) + np.asarray(params["head"]["bias"]), 2, 1)
    expected = scipy.stats.norm.logpdf(X, loc, np.exp(log_scale)).sum(axis=1)
    found = flows.Flow(standard_normal(3), bijection).log_prob(params, state, x, given)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bad_input():
    x, given = jnp.asarray(X, jnp.float32), jnp.asarray(GIVEN, jnp.float32)
    bijection = flows.conditional_affine(BODY)
    params, state = bijection.init(jax.random.key(0), x, given)
    with pytest.raises(ValueError, match="given is missing"):
        bijection.forward(params, state, x)
    with pytest.raises(ValueError, match="given is missing"):
        bijection.init(jax.random.key(0), x)
    wide = flows.conditional_affine(nets.from_functions(lambda key, y: {}, lambda p, y: y[:, None]))
    with pytest.raises(ValueError, match=r"must return features \[examples, width\], got \[5, 1, 2\]"):
        wide.init(jax.random.key(0), x, given)
