"""A bijection of some elements: closed forms for every kind of index, the Jacobian, and errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 4))


@pytest.mark.first(1)
@pytest.mark.parametrize(
    "index",
    [2, -1, [3, 0], slice(1, None, 2), [True, False, False, True], np.array([1])],
    ids=["one", "last", "list", "slice", "booleans", "array"],
)
def test_some_elements_are_mapped_and_the_others_stay(x64, index):
    bijection, x = flows.indexed(flows.exp(), index), jnp.asarray(X)

    @jax.jit
    def both(x):
        tree = bijection.init(jax.random.key(0), x)
        z, log_det = bijection.forward(*tree, x)
        return z, log_det, bijection.inverse(*tree, z)[0]

    z, log_det, back = both(x)
    expected, chosen = X.copy(), np.zeros(4, bool)
    chosen[np.asarray(index) if isinstance(index, list) else index] = True
    expected[:, chosen] = np.exp(X[:, chosen])
    np.testing.assert_allclose(z, expected, rtol=1e-14)
    np.testing.assert_allclose(log_det, X[:, chosen].sum(1), rtol=1e-14)
    np.testing.assert_allclose(back, X, rtol=1e-13)


@pytest.mark.thorough
def test_both_directions_and_the_jacobian_agree(x64):
    check(flows.indexed(flows.maf(2, hidden=(8,)), [3, 0, 1]), jnp.asarray(X), jnp.asarray(np.cos(X[:, :2])))
    check(flows.indexed(flows.planar(), slice(0, 2)), jnp.asarray(np.stack([X, X + 1], axis=1)))


@pytest.mark.thorough
def test_the_order_of_the_index_is_that_of_the_part(x64):
    bijection, x = flows.indexed(flows.permutation([0, 2, 1]), [3, 0, 1]), jnp.asarray(X)
    z, _ = bijection.forward(*bijection.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(z, X[:, [1, 0, 2, 3]])  # z[3], z[0], z[1] are x[3], x[1], x[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: flows.indexed(3, [0]), TypeError, "must be a Bijection, got 3"),
        (lambda x: flows.indexed(flows.exp(), []), ValueError, "index is empty"),
        (lambda x: flows.indexed(flows.exp(), [0.5]), TypeError, "must be integers, booleans or a slice, got float64"),
        (
            lambda x: flows.indexed(flows.exp(), [[0]]),
            TypeError,
            r"must be integers, booleans or a slice, got int64\[1, 1\]",
        ),
        (
            lambda x: flows.indexed(flows.exp(), [0, -4]).init(jax.random.key(0), x),
            ValueError,
            r"name at least one element and none twice, got \[0 0\] of 4",
        ),
        (lambda x: flows.indexed(flows.exp(), [4]).init(jax.random.key(0), x), ValueError, "does not fit a last axis"),
        (
            lambda x: flows.indexed(flows.exp(), slice(9, None)).init(jax.random.key(0), x),
            ValueError,
            "at least one element",
        ),
        (
            lambda x: flows.indexed(flows.exp(), [True, False]).init(jax.random.key(0), x),
            ValueError,
            "2 booleans and the last axis 4",
        ),
        (
            lambda x: flows.indexed(flows.flatten(), [0]).init(jax.random.key(0), x[:, None]),
            ValueError,
            r"maps \[5, 1, 1\] to \[5, 1\]; it must keep the shape",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.asarray(X, jnp.float32))
