"""Autoregressive flows: the oracle, exact zeros, all that may be seen is seen, and derivatives of the loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flows.oracle import check, jacobians
from flows.places import place
from jax.flatten_util import ravel_pytree

from vifx import flows

X = np.random.default_rng(0).standard_normal((5, 4))
ORDER = (2, 0, 3, 1)


def given(dtype):
    return jnp.asarray(np.cos(X[:, :2]), dtype)


@pytest.mark.first(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("build", "conditional"),
    [
        (lambda: flows.autoregressive(flows.affine(), hidden=(8, 8), order=ORDER), False),
        (lambda: flows.stack(flows.autoregressive(flows.rational_quadratic(bins=4), hidden=(8,)), 2), True),
    ],
    ids=["affine", "spline-stacked"],
)
def test_both_directions_and_the_jacobian_agree(build, conditional, dtype):
    with jax.enable_x64(dtype == "float64"):
        bijection, x, own = build(), jnp.asarray(X, dtype), given(dtype) if conditional else None
        params, state = place(bijection, x, own, scale=0.3)
        check(bijection, x, own, params=params, state=state)


@pytest.mark.parametrize(
    ("order", "hidden", "conditional"),
    [(None, (12, 12), False), ("reversed", (2,), False), (ORDER, (12, 12), True)],
)
def test_masked_entries_are_exactly_zero(order, hidden, conditional):
    """In the order the Jacobian is lower triangular; a wide network uses every entry that it may."""
    bijection, x = flows.autoregressive(flows.affine(), hidden=hidden, order=order, activation=jnp.tanh), X
    x = jnp.asarray(x, jnp.float32)
    own = {None: (0, 1, 2, 3), "reversed": (3, 2, 1, 0)}.get(order, order)
    parents = given("float32") if conditional else None
    params, state = place(bijection, x, parents)
    jacobian = jacobians(bijection, params, state, x, parents)[:, own][:, :, own]
    np.testing.assert_array_equal(jacobian[:, *np.triu_indices(4, 1)], np.zeros((5, 6)))
    assert np.all(jacobian[:, range(4), range(4)] > 0)
    if hidden == (12, 12):
        assert np.all(jacobian[:, *np.tril_indices(4, -1)] != 0)


@pytest.mark.thorough
@pytest.mark.parametrize("elements", [1, 4])
def test_every_element_sees_what_it_is_conditioned_on(elements):
    bijection = flows.autoregressive(flows.additive(), hidden=(12, 12), activation=jnp.tanh)
    x, parents = jnp.asarray(X[:, :elements], jnp.float32), given("float32")
    params, state = place(bijection, x, parents)
    moved = jax.jacobian(lambda own: bijection.forward(params, state, x[:1], own)[0])(parents[:1])
    assert np.all(np.asarray(moved) != 0)


def test_it_is_its_definition(x64):
    """Element by element with networks without masks, whose forbidden inputs are set to zero instead."""
    bijection, x = flows.autoregressive(flows.affine(), hidden=(12,), order=ORDER, activation=jnp.tanh), jnp.asarray(X)
    params, state = place(bijection, x)
    z, log_det = bijection.forward(params, state, x)
    params = jax.tree.map(np.asarray, params)
    total, place_of = np.zeros(5), np.argsort(ORDER)
    degrees = 1 + np.arange(12) * 3 // 12
    for position, element in enumerate(ORDER):
        hidden = np.zeros((5, 12))
        for unit, degree in enumerate(degrees):
            seen = np.where(place_of < degree, X, 0.0)
            hidden[:, unit] = np.tanh(seen @ params["Dense_0"]["kernel"][:, unit] + params["Dense_0"]["bias"][unit])
        hidden[:, degrees > position] = 0
        s, t = np.moveaxis(hidden @ params["head"]["kernel"][:, element] + params["head"]["bias"][element], -1, 0)
        np.testing.assert_allclose(z[:, element], np.exp(s) * X[:, element] + t, rtol=1e-12)
        total += s
    np.testing.assert_allclose(log_det, total, rtol=1e-12)


def test_it_starts_as_the_identity():
    x = jnp.asarray(X, jnp.float32)
    bijection = flows.autoregressive(flows.affine(), hidden=(8,))
    z, log_det = bijection.forward(*bijection.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(z, x)
    np.testing.assert_array_equal(log_det, np.zeros(5))


def test_derivatives_of_the_inverse(x64):
    """Through the loop, by parameters, values and conditioning, against those of the forward direction."""
    bijection = flows.autoregressive(flows.affine(), hidden=(6,), activation=jnp.tanh)
    z, parents = jnp.asarray(X), given("float64")
    params, state = place(bijection, z, parents, scale=0.5)
    flat, rebuild = ravel_pytree((params, z, parents))

    def loss(flat):
        params, z, parents = rebuild(flat)
        x, log_det = bijection.inverse(params, state, z, parents)
        return jnp.sum(jnp.sin(x)) + jnp.sum(log_det**2)

    direction = jnp.cos(jnp.arange(float(flat.size)))
    both = jax.jit(jax.value_and_grad(loss))
    value = [both(flat + step * direction)[0] for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(both(flat)[1] @ direction, (value[0] - value[1]) / 2e-5, rtol=1e-6)


def test_the_inverse_is_one_loop():
    """Its program does not grow with the number of elements."""
    bijection = flows.autoregressive(flows.affine(), hidden=(8,))

    def equations(elements):
        x = jnp.zeros((2, elements))
        params, state = bijection.init(jax.random.key(0), x)
        return str(jax.make_jaxpr(bijection.inverse)(params, state, x)).count("\n")

    assert equations(40) == equations(4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: flows.autoregressive(flows.affine), TypeError, "must be an Elementwise, got a function"),
        (lambda x: flows.autoregressive(flows.affine(), hidden=()), ValueError, "at least one integer ≥ 1, got none"),
        (
            lambda x: flows.autoregressive(flows.affine(), hidden=(0,)),
            ValueError,
            r"hidden\[0\] must be an integer ≥ 1, got 0",
        ),
        (lambda x: flows.autoregressive(flows.affine(), order="random"), ValueError, "a permutation of 0"),
        (lambda x: flows.autoregressive(flows.affine(), order=(0, 2)), ValueError, r"got \(0, 2\)"),
        (
            lambda x: flows.autoregressive(flows.affine(), order=(0, 1)).init(jax.random.key(0), x),
            ValueError,
            "order has 2 elements and the event 4",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.asarray(X, jnp.float32))
