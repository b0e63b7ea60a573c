"""Permutations: values, log-determinants of zero, gradients, and an order of its own for every copy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import jacobians

from vifx import flows

X = np.random.default_rng(0).standard_normal((4, 2, 5)).astype(np.float32)
ORDER = [3, 0, 4, 1, 2]


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: flows.permutation(ORDER), X[..., ORDER]),
        (flows.reverse, X[..., ::-1]),
        (flows.shuffle, None),
        (lambda: flows.stack(flows.permutation(ORDER), 2), X[..., ORDER][..., ORDER]),
        (lambda: flows.stack(flows.shuffle(), 3), None),
    ],
    ids=["permutation", "reverse", "shuffle", "stacked", "stacked shuffles"],
)
def test_elements_move_and_nothing_else(build, expected):
    bijection, x = build(), jnp.asarray(X)
    params, state = bijection.init(jax.random.key(0), x)
    assert not jax.tree.leaves(params)
    z, log_det = bijection.forward(params, state, x)
    back, log_det_back = bijection.inverse(params, state, z)
    np.testing.assert_array_equal(back, X)
    np.testing.assert_array_equal(log_det, np.zeros(4))
    np.testing.assert_array_equal(log_det_back, np.zeros(4))
    if expected is None:
        order = state["order"] if state["order"].ndim == 1 else state["order"][0][state["order"][1]][state["order"][2]]
        expected = X[..., np.asarray(order)]
        assert np.any(expected != X)
    np.testing.assert_array_equal(z, expected)
    matrix = jacobians(bijection, params, state, x)[0]
    np.testing.assert_array_equal(matrix @ X[0].reshape(-1), np.asarray(z[0]).reshape(-1))
    # The gradient of a linear map is its transpose, and a permutation's transpose is its inverse.
    weight = jnp.asarray(np.random.default_rng(1).standard_normal(X.shape), jnp.float32)
    gradient = jax.grad(lambda x: jnp.sum(weight * bijection.forward(params, state, x)[0]))(x)
    np.testing.assert_array_equal(gradient, bijection.inverse(params, state, weight)[0])


def test_every_copy_of_a_shuffle_has_an_order_of_its_own():
    _, state = flows.stack(flows.shuffle(), 4).init(jax.random.key(0), jnp.zeros((1, 40)))
    orders = np.asarray(state["order"])
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(40), (4, 40)))
    # Two random orders of 40 agree in one place on average, and in more than eight once in a million pairs.
    agree = [np.sum(orders[i] == orders[j]) for i in range(4) for j in range(i)]
    assert max(agree) <= 8


@pytest.mark.parametrize("order", [[0, 0, 1], [1, 2, 3], [], [[0, 1]], [0.5, 1.0]])
def test_an_order_must_have_each_index_once(order):
    with pytest.raises(ValueError, match="order must have each of 0 … n - 1 once"):
        flows.permutation(order)


def test_an_order_must_have_the_length_of_the_axis():
    bijection, x = flows.permutation([1, 0]), jnp.zeros((2, 3))
    for call in (
        lambda: bijection.init(jax.random.key(0), x),
        lambda: bijection.forward({}, {}, x),
        lambda: bijection.inverse({}, {}, x),
    ):
        with pytest.raises(ValueError, match="order has 2 entries and the last axis 3 elements"):
            call()
