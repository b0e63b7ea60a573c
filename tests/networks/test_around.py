"""Noise around a network: the density by SciPy, a scale that is learned, and what is refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import linen

from vifx import nets, networks

X = np.random.default_rng(0).normal(size=(4, 3))
DOUBLE = nets.from_functions(lambda key, x: {}, lambda params, x: 2 * x)


def test_it_is_normal_around_what_the_network_returns(x64):
    value = np.random.default_rng(1).normal(size=X.shape)
    law, _ = networks.around(DOUBLE, 0.3).apply({"mean": {}}, {}, jnp.asarray(X))
    expected = scipy.stats.norm.logpdf(value, 2 * X, 0.3).sum(1)
    np.testing.assert_allclose(law.log_prob(jnp.asarray(value)), expected, rtol=1e-12)


def test_a_learned_scale_starts_from_the_given_one_and_has_its_gradient(x64):
    net, value = networks.around(DOUBLE, 0.3, learned=True), jnp.asarray(X[::-1])
    params, state = net.init(jax.random.key(0), jnp.asarray(X))

    def total(raw):
        law, _ = net.apply({**params, "raw_scale": raw}, state, jnp.asarray(X))
        return jnp.sum(law.log_prob(value))

    def by_hand(raw):
        scale = 0.3 * (1e-3 + 0.999 * jnp.log1p((jnp.e - 1) * jnp.exp(raw)))
        apart = (value - 2 * X) / scale[None]
        return -0.5 * jnp.sum(apart**2) - len(X) * jnp.sum(jnp.log(scale)) - 0.5 * X.size * jnp.log(2 * jnp.pi)

    start = scipy.stats.norm.logpdf(X[::-1], 2 * X, 0.3).sum()
    np.testing.assert_allclose(total(params["raw_scale"]), start, rtol=1e-12)
    raw = jnp.array([0.3, -2.0, 0.0])
    for one, other in zip(
        *jax.jit(lambda raw: [jax.value_and_grad(each)(raw) for each in (total, by_hand)])(raw), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.thorough
def test_a_network_keeps_its_state_and_its_mode():
    net = networks.around(networks.MLP((8,), outputs=2, norm="batch"), 1.0)
    x = jnp.asarray(X, jnp.float32)
    params, state = net.init(jax.random.key(0), x)
    _, kept = net.apply(params, state, x)
    _, moved = net.apply(params, state, x, train=True)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), kept, state))
    assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), moved, state))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: networks.around(DOUBLE, 0.0), "around: scale must be a finite number > 0, got 0.0"),
        (lambda: networks.around(DOUBLE, 1.0, minimum=1.0), r"around: minimum must be a number in \(0, 1\)"),
        (lambda: networks.around(lambda x: x, 1.0), "network must be a Net, a flax.linen.Module or an nnx.Module"),
        (
            lambda: networks.around(DOUBLE, 1.0).apply({"mean": {}}, {}, jnp.ones((2, 3), int)),
            r"network must return floating values \[examples, \*event\], got an array int32\[2, 3\]",
        ),
        (lambda: networks.around(Distributed(), 1.0).apply({"mean": {}}, {}, jnp.ones((2, 3))), "got a Independent"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


class Distributed(linen.Module):
    """A network that returns a distribution already."""

    def __call__(self, x):
        return networks.around(DOUBLE, 1.0).apply({"mean": {}}, {}, x)[0]
