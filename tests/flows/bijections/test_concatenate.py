"""Parts of an event by bijections of their own: closed forms, parts that change their size, noise, and errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check
from numpyro.distributions import constraints
from scipy import stats

from vifx import flows
from vifx.distributions import standard_normal

X = np.random.default_rng(0).uniform(0.1, 0.9, (5, 4))


def test_each_column_has_its_own_map(x64):
    """Real, positive and a share: a normal, a lognormal and a logit-normal variable side by side."""
    columns = flows.concatenate(flows.identity(), flows.invert(flows.exp()), flows.logit(alpha=0.0))
    flow, x = flows.Flow(standard_normal(3), columns), jnp.asarray(X[:, :3])
    found = jax.jit(lambda x: flow.log_prob(*flow.init(jax.random.key(0), x), x))(x)
    logit = np.log(X[:, 2]) - np.log1p(-X[:, 2])
    expected = stats.norm.logpdf(X[:, 0]) + stats.lognorm.logpdf(X[:, 1], 1)
    expected = expected + stats.norm.logpdf(logit) - np.log(X[:, 2] * (1 - X[:, 2]))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.thorough
def test_both_directions_and_the_jacobian_agree(x64):
    given = jnp.asarray(np.cos(X[:, :2]))
    parts = flows.maf(1, hidden=(8,)), flows.chain(flows.sigmoid(), flows.scale())
    check(flows.concatenate(*parts, sizes=(3, 1)), jnp.asarray(X), given)
    check(flows.stack(flows.concatenate(flows.planar(), flows.actnorm(), sizes=(1, 3)), 2), jnp.asarray(X), given)
    check(flows.concatenate(flows.exp(), flows.tanh(), sizes=(1, 3)), jnp.asarray(np.stack([X, 2 * X], 1)))


@pytest.mark.thorough
def test_a_part_may_change_its_size(x64):
    """A simplex of three shares beside a positive number: each as alone, in both directions and inverted."""
    x = np.concatenate([X[:, :3] / X[:, :3].sum(1, keepdims=True), X[:, 3:]], axis=1)
    simplex, positive = flows.support(constraints.simplex), flows.support(constraints.positive)
    bijection = flows.chain(flows.concatenate(simplex, positive, sizes=(3, 1)), flows.scale())
    params, state = bijection.init(jax.random.key(0), jnp.asarray(x))
    z, log_det = bijection.forward(params, state, jnp.asarray(x))
    (first, one), (second, two) = (
        alone.forward({}, {}, jnp.asarray(part)) for alone, part in ((simplex, x[:, :3]), (positive, x[:, 3:]))
    )
    np.testing.assert_allclose(z, np.concatenate([first, second], axis=1), rtol=1e-12)
    np.testing.assert_allclose(log_det, one + two, rtol=1e-12)
    back, log_det_back = bijection.inverse(params, state, z)
    np.testing.assert_allclose(back, x, rtol=1e-10)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-10)


@pytest.mark.thorough
def test_noise_reaches_every_part_and_differs(x64):
    def noisy(params, state, x, given, key):
        return x, jax.random.normal(key, x.shape[:1])

    part = flows.checked("noisy", lambda key, x, given: ({}, {}), noisy, noisy)
    bijection, x = flows.concatenate(part, part, sizes=(2, 2)), jnp.asarray(X)
    params, state = bijection.init(jax.random.key(0), x)
    keys = jax.random.split(jax.random.key(0), 2000)
    for direction in (bijection.forward, bijection.inverse):
        draws = np.asarray(jax.jit(jax.vmap(lambda key: direction(params, state, x, key=key)[1]))(keys))  # noqa: B023
        # Two independent standard normals add up to variance 2; one draw used twice would give 4.
        assert abs(draws.var() - 2) < 4.26 * 2 * np.sqrt(2 / draws.size)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: flows.concatenate(), ValueError, "bijections is empty"),
        (lambda x: flows.concatenate(flows.exp), TypeError, "every argument must be a Bijection, got a function"),
        (lambda x: flows.concatenate(flows.exp(), sizes=(1, 2)), ValueError, "1 bijections and 2 sizes"),
        (lambda x: flows.concatenate(flows.exp(), sizes=(0,)), ValueError, r"sizes\[0\] must be an integer ≥ 1, got 0"),
        (
            lambda x: flows.concatenate(flows.exp(), flows.exp()).init(jax.random.key(0), x),
            ValueError,
            r"the parts have 1 \+ 1 = 2 elements, and the last axis 4; give sizes=",
        ),
        (
            lambda x: flows.concatenate(flows.flatten(), sizes=(4,)).init(jax.random.key(0), x[:, None]),
            ValueError,
            r"part 0 becomes \[5, 4\], but all parts must have the axes \[5, 1, 'size'\]",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.asarray(X, jnp.float32))
