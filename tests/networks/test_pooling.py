"""Attention pooling against its formula, and with nothing to attend to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx.networks import AttentionPooling


def case(dtype=np.float64):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 9, 4)).astype(dtype))
    params = {
        "hidden": {"kernel": jnp.asarray(rng.normal(size=(4, 5)).astype(dtype))},
        "score": jnp.asarray(rng.normal(size=(5, 1)).astype(dtype)),
    }
    return x, {"params": params}, jnp.asarray(np.arange(9)[None] < np.array([9, 4, 0])[:, None])


@pytest.mark.first(1)
@pytest.mark.parametrize("activation", [jnp.tanh, jax.nn.relu])
def test_pooling_is_its_formula(x64, activation):
    x, variables, mask = case()
    found = jax.jit(AttentionPooling(5, activation).apply)(variables, x, mask)
    alpha, w = np.asarray(variables["params"]["score"]), np.asarray(variables["params"]["hidden"]["kernel"])
    for n, length in enumerate((9, 4)):
        own = np.asarray(x[n, :length])
        weights = np.exp(np.asarray(activation(jnp.asarray(own @ w))) @ alpha)[:, 0]
        np.testing.assert_allclose(found[n], weights @ own / weights.sum(), rtol=1e-12)
    np.testing.assert_array_equal(found[2], 0.0)
    np.testing.assert_allclose(
        AttentionPooling(5, activation).apply(variables, x[:1]), found[:1], rtol=1e-12, err_msg="without a mask"
    )


def test_what_stands_at_padding_is_nothing():
    x, variables, mask = case(np.float32)

    @jax.jit
    def both(x):
        y, pull = jax.vjp(lambda variables, x: AttentionPooling(5).apply(variables, x, mask), variables, x)
        return y, pull(jnp.cos(y))

    clean, soiled = both(x), both(jnp.where(mask[..., None], x, jnp.nan))
    for found, expected in zip(jax.tree.leaves(soiled), jax.tree.leaves(clean), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.asarray(clean[1][1])[~np.asarray(mask)], 0.0)
    assert np.isfinite(clean[1][1]).all()


@pytest.mark.thorough
def test_more_padding_changes_nothing():
    """The same bits at every length, across the groups of the sums."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 40, 64)).astype(np.float32))
    variables = AttentionPooling().init(jax.random.key(0), x)
    apply, found = jax.jit(AttentionPooling().apply), []
    for length in (40, 41, 48, 63, 64, 65, 100, 300):
        longer = jnp.concatenate([x, jnp.full((3, length - 40, 64), jnp.inf)], axis=1)
        mask = jnp.broadcast_to(jnp.arange(length)[None] < 40, (3, length))
        found.append(np.asarray(apply(variables, longer, mask)))
    assert all(np.array_equal(found[0], other) for other in found[1:])


@pytest.mark.thorough
def test_great_scores_do_not_overflow():
    x, variables, mask = case(np.float32)
    large = jax.tree.map(lambda leaf: 1e30 * leaf, variables)
    value, slope = jax.value_and_grad(lambda x: jnp.sum(AttentionPooling(5).apply(large, x, mask)))(x)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()
