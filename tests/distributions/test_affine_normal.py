"""Normal distributions of which some elements are observed: SciPy's marginals, by value and by gradient."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vifx.distributions import AffineNormal, MultivariateNormal

DRAW = np.random.default_rng(0)
SIZE = 3
MASKS = np.array(list(itertools.product([False, True], repeat=SIZE)))
LOC, VALUE = DRAW.normal(size=(2, len(MASKS), SIZE))
SCALE = np.tril(DRAW.normal(size=(SIZE, SIZE)), -1) + np.diag([0.6, 1.1, 1.4])
HOLES = np.where(MASKS, VALUE, np.nan)


def marginal(mask, value, loc, scale):
    """The density of the observed elements by the submatrix of the covariance; 0 of none."""
    seen = np.flatnonzero(mask)
    if not len(seen):
        return jnp.zeros(())
    covariance = (scale @ scale.T)[np.ix_(seen, seen)]
    return jax.scipy.stats.multivariate_normal.logpdf(value[seen], loc[seen], covariance)


def test_every_pattern_is_the_marginal_of_its_elements(x64):
    """All eight patterns at once, of every element that is missing NaN; value and gradient of all arguments."""
    weights = jnp.asarray(DRAW.normal(size=len(MASKS)))

    def found(value, loc, scale):
        each = AffineNormal(loc, scale, observed=jnp.asarray(MASKS)).log_prob(value)
        return jnp.sum(weights * each), each

    def expected(value, loc, scale):
        each = jnp.stack([marginal(mask, v, m, scale) for mask, v, m in zip(MASKS, value, loc, strict=True)])
        return jnp.sum(weights * each), each

    own = jax.jit(jax.value_and_grad(found, (0, 1, 2), has_aux=True))
    (_, values), gradients = own(jnp.asarray(HOLES), jnp.asarray(LOC), jnp.asarray(SCALE))
    peer = jax.jit(jax.value_and_grad(expected, (0, 1, 2), has_aux=True))
    (_, peers), peer_gradients = peer(jnp.asarray(VALUE), jnp.asarray(LOC), jnp.asarray(SCALE))
    np.testing.assert_allclose(values, peers, rtol=1e-11)
    assert values[0] == 0
    for gradient, other in zip(gradients[:2], peer_gradients[:2], strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.tril(gradients[2]), np.tril(peer_gradients[2]), rtol=1e-10, atol=1e-12)
    whole = scipy.stats.multivariate_normal(LOC[-1], SCALE @ SCALE.T).logpdf(VALUE[-1])
    np.testing.assert_allclose(values[-1], whole, rtol=1e-12)


@pytest.mark.thorough
def test_without_a_pattern_it_is_the_normal(x64):
    own, peer = (make(jnp.asarray(LOC), jnp.asarray(SCALE)) for make in (AffineNormal, MultivariateNormal))
    np.testing.assert_allclose(own.log_prob(jnp.asarray(VALUE)), peer.log_prob(jnp.asarray(VALUE)), rtol=1e-12)
    np.testing.assert_array_equal(own.sample(jax.random.key(0)), peer.sample(jax.random.key(0)))
    wrong = jnp.asarray(VALUE).at[0, 0].set(jnp.inf)
    assert own.log_prob(wrong)[0] == -np.inf
    seen = AffineNormal(jnp.asarray(LOC), jnp.asarray(SCALE), observed=jnp.asarray(MASKS))
    # An observed element that is not finite is impossible, a missing one is no element.
    expected = np.where(MASKS[:, 0], -np.inf, np.asarray(seen.log_prob(jnp.asarray(VALUE))))
    np.testing.assert_allclose(seen.log_prob(jnp.asarray(VALUE).at[:, 0].set(jnp.nan)), expected, rtol=1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match=r"observed must be booleans \[5, 2\], one for each element, got bool\[5\]"):
        AffineNormal(jnp.zeros((5, 2)), jnp.eye(2), observed=jnp.ones(5, bool))
    with pytest.raises(ValueError, match=r"got float32\[5, 2\]; give jnp.isfinite"):
        AffineNormal(jnp.zeros((5, 2)), jnp.eye(2), observed=jnp.ones((5, 2)))
