"""Continuous flows: closed forms, the order of the method, the trace's estimate, gradients, memory, adaptive steps."""

from __future__ import annotations

import sys

import chex
import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from flows.oracle import jacobians
from flows.places import place
from jax.flatten_util import ravel_pytree

from vifx import flows, nets

X = np.random.default_rng(0).standard_normal((5, 3))
MATRIX = np.array([[0.3, -1.0, 0.4], [0.8, -0.5, 0.2], [0.1, 0.6, 0.9]])


def linear(rate):
    """``v(x, t) = rate(t) A x``."""
    return nets.from_functions(
        lambda key, x, t: {"matrix": jnp.asarray(MATRIX)}, lambda params, x, t: rate(t) * (x @ params["matrix"].T)
    )


def curved(width=6):
    """A velocity that bends, changes with the time and sees what the flow is conditioned on."""

    def init(key, x, t, *parents):
        inputs = x.shape[1] + 1 + sum(y.shape[1] for y in parents)
        shapes = [(inputs, width), (width, x.shape[1])]
        return [
            jax.random.normal(own, shape, x.dtype) for own, shape in zip(jax.random.split(key), shapes, strict=True)
        ]

    def apply(params, x, t, *parents):
        return jnp.tanh(jnp.concatenate([x, t, *parents], axis=1) @ params[0]) @ params[1]

    return nets.from_functions(init, apply)


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_a_linear_field_is_a_matrix_exponential(x64, trace):
    """``x(T) = exp(A ∫ rate) x`` and the log-determinant is the trace times that integral."""
    flow = flows.continuous(linear(lambda t: jnp.cos(t)), steps=64, time=1.5, trace=trace)
    key = jax.random.key(1)
    params, state = flow.init(jax.random.key(0), jnp.asarray(X))
    z, log_det = flow.forward(params, state, jnp.asarray(X), key=key)
    np.testing.assert_allclose(z, X @ scipy.linalg.expm(np.sin(1.5) * MATRIX).T, rtol=1e-7)
    x, log_det_back = flow.inverse(params, state, z, key=key)
    np.testing.assert_allclose(x, X, rtol=1e-8)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-10)
    if trace == "exact":
        np.testing.assert_allclose(log_det, np.full(5, np.sin(1.5) * np.trace(MATRIX)), rtol=1e-8)


@pytest.mark.thorough
def test_the_method_is_of_order_four(x64):
    """Value, log-determinant and the log-determinant against the Jacobian; a round trip gains one order."""
    x, given = jnp.asarray(X), jnp.asarray(np.cos(X[:, :1]))
    build = lambda steps: flows.continuous(curved(), steps=steps)  # noqa: E731
    params, state = place(build(1), x, given, scale=0.5)
    run = jax.jit(lambda steps: build(steps).forward(params, state, x, given), static_argnums=0)
    reference = run(512)
    errors = []
    for steps in (16, 32):
        z, log_det = run(steps)
        back, log_det_back = jax.jit(build(steps).inverse)(params, state, z, given)
        slope = np.linalg.slogdet(jacobians(build(steps), params, state, x, given))[1]
        differences = (z - reference[0], log_det - reference[1], log_det - slope, back - x, log_det + log_det_back)
        errors.append([np.linalg.norm(difference) for difference in differences])
    assert max(errors[1]) < 1e-4
    order = np.log2(np.divide(*errors))
    np.testing.assert_allclose(order[:3], 4, atol=0.1)
    np.testing.assert_allclose(order[3:], 5, atol=0.2)


def test_the_estimate_of_the_trace(x64):
    """Signs held along the path: ``εᵀ A ε T`` exactly, with the trace as mean and a known variance."""
    flow = flows.continuous(linear(lambda t: 1.0), steps=2, time=1.5, trace="hutchinson")
    params, state = flow.init(jax.random.key(0), jnp.asarray(X))
    keys = jax.random.split(jax.random.key(2), 20_000)
    draws = np.asarray(jax.jit(jax.vmap(lambda key: flow.forward(params, state, jnp.asarray(X), key=key)[1]))(keys))
    variance = 1.5**2 * np.sum(np.triu(MATRIX + MATRIX.T, 1) ** 2)
    assert abs(draws.mean() - 1.5 * np.trace(MATRIX)) < 4.26 * np.sqrt(variance / draws.size)
    assert abs(draws.var() / variance - 1) < 0.05
    assert np.abs(np.corrcoef(draws.T) - np.eye(5)).max() < 4.26 / np.sqrt(20_000)


def test_the_gradient_of_the_estimate(x64):
    """It is unbiased for the exact log-determinant's; without the curvature of the field it would not be."""
    x, given = jnp.asarray(X), jnp.asarray(np.cos(X[:, :1]))
    exact, estimate = (flows.continuous(curved(), steps=4, trace=trace) for trace in ("exact", "hutchinson"))
    params, state = place(exact, x, given, scale=0.1)
    flat, rebuild = ravel_pytree((params, x))
    directions = np.random.default_rng(1).standard_normal((flat.size, 4))

    def slope(flow, key):
        def total(flat):
            params, x = rebuild(flat)
            return jnp.sum(flow.forward(params, state, x, given, key=key)[1])

        return jax.grad(total)(flat) @ directions

    draws = np.asarray(jax.jit(jax.vmap(lambda key: slope(estimate, key)))(jax.random.split(jax.random.key(5), 5_000)))
    error = draws.std(0) / np.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(0) - jax.jit(lambda: slope(exact, None))()) < 4.26 * error)


def test_gradients(x64):
    """By parameters, values and conditioning, of both directions, against differences."""
    flow = flows.continuous(curved(), steps=3)
    params, state = place(flow, jnp.asarray(X), jnp.asarray(np.cos(X[:, :1])), scale=0.1)
    flat, rebuild = ravel_pytree((params, jnp.asarray(X), jnp.asarray(np.cos(X[:, :1]))))
    direction = jnp.cos(jnp.arange(float(flat.size)))

    def loss(flat):
        params, x, given = rebuild(flat)
        parts = (*flow.forward(params, state, x, given), *flow.inverse(params, state, x, given))
        return sum(jnp.sum(jnp.sin(part)) for part in parts)

    both = jax.jit(jax.value_and_grad(loss))
    value = [both(flat + step * direction)[0] for step in (1e-5, -1e-5)]
    np.testing.assert_allclose(both(flat)[1] @ direction, (value[0] - value[1]) / 2e-5, rtol=1e-7)


@pytest.mark.thorough
def test_gradients_keep_one_state_a_step():
    """The memory of a gradient grows with the steps by the state alone, not by the network's hidden units."""
    x = jnp.asarray(np.tile(X, (40, 1)), jnp.float32)

    def memory(steps):
        flow = flows.continuous(curved(256), steps=steps)
        params, state = flow.init(jax.random.key(0), x)
        gradient = jax.jit(jax.grad(lambda params: jnp.sum(flow.forward(params, state, x)[1])))
        return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes

    state = 4 * (x.size + len(x) + 2)
    assert (memory(64) - memory(32)) / 32 < 2 * state < 0.1 * (4 * 256 * len(x))


@pytest.mark.thorough
def test_adaptive_steps_along_a_linear_field(x64):
    """The matrix exponential to the tolerance and back, each example alone, and NaN for a path without an end."""
    flow = flows.continuous(linear(lambda t: jnp.cos(t)), time=1.5, solver=diffrax.Tsit5(), tolerance=1e-8)
    params, state = flow.init(jax.random.key(0), jnp.asarray(X))

    @jax.jit
    def both(params, x):
        z, log_det = flow.forward(params, state, x)
        return z, log_det, *flow.inverse(params, state, z)

    z, log_det, x, log_det_back = both(params, jnp.asarray(X))
    np.testing.assert_allclose(z, X @ scipy.linalg.expm(np.sin(1.5) * MATRIX).T, atol=1e-7)
    np.testing.assert_allclose(log_det, np.full(5, np.sin(1.5) * np.trace(MATRIX)), atol=1e-8)
    np.testing.assert_allclose(x, X, atol=1e-7)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-8)
    for first in (1000.0, jnp.inf):
        other = both(params, jnp.asarray(X).at[0].multiply(first))
        for one, same in zip((z, log_det, x, log_det_back), other, strict=True):
            np.testing.assert_array_equal(one[1:], same[1:])
    assert all(np.isnan(part[0]).all() for part in other)
    assert all(np.isnan(part).all() for part in both({"matrix": jnp.asarray(1e6 * MATRIX)}, jnp.asarray(X)))


@pytest.mark.thorough
def test_adaptive_steps_agree_with_many_fixed_ones(x64):
    """Value, the estimate of the log-determinant with one key, and gradients by parameters, values and conditioning."""
    x, given = jnp.asarray(X), jnp.asarray(np.cos(X[:, :1]))
    build = lambda **how: flows.continuous(curved(), trace="hutchinson", time=0.8, **how)  # noqa: E731
    params, state = place(build(), x, given)

    def compiled(flow):
        def loss(params, x, given):
            z, log_det = flow.forward(params, state, x, given, key=jax.random.key(3))
            return jnp.sum(jnp.sin(z)) + jnp.sum(jnp.cos(log_det)), (z, log_det)

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))

    free = compiled(build(solver=diffrax.Tsit5(), tolerance=1e-8))
    found, expected = free(params, x, given), compiled(build(steps=128))(params, x, given)
    chex.assert_trees_all_close(found, expected, rtol=1e-6, atol=1e-6)
    (_, values), (by_params, *by_example) = free(params, x, given.at[2].set(jnp.nan))
    lost = np.arange(5) == 2
    for part, whole in zip((*values, *by_example), (*found[0][1], *found[1][1:]), strict=True):
        assert np.isnan(part[2]).all()
        np.testing.assert_allclose(part[~lost], whole[~lost], rtol=1e-12)
    assert all(np.isnan(part).all() for part in by_params)


@pytest.mark.thorough
def test_adaptive_steps_keep_single_precision_beside_double(x64):
    x, flow = jnp.asarray(X, jnp.float32), flows.cnf(hidden=(4,), solver=diffrax.Tsit5())
    z, log_det = jax.jit(flow.forward)(*flow.init(jax.random.key(0), x), x)
    np.testing.assert_array_equal(z, x, strict=True)
    np.testing.assert_array_equal(log_det, np.zeros(5, np.float32), strict=True)


def test_without_diffrax_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    flows.continuous(curved())
    with pytest.raises(ImportError, match=r"needs diffrax, which is not installed; pip install 'vifx\[ode\]'"):
        flows.continuous(curved(), solver="tsit5")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: flows.continuous(curved(), steps=0), ValueError, "steps must be an integer ≥ 1, got 0"),
        (lambda x: flows.continuous(curved(), time=-1.0), ValueError, "time must be a finite number > 0, got -1.0"),
        (lambda x: flows.continuous(curved(), trace="slq"), ValueError, "must be one of exact, hutchinson; got 'slq'"),
        (lambda x: flows.continuous(lambda x: x), TypeError, "network must be a Net"),
        (
            lambda x: flows.continuous(nets.from_functions(lambda key, x, t: {}, lambda params, x, t: x[:, :1])).init(
                jax.random.key(0), x
            ),
            ValueError,
            r"velocity maps \[5, 3\] to \[5, 1\]",
        ),
        (
            lambda x: flows.continuous(curved(), trace="hutchinson").forward([], {}, x),
            ValueError,
            "is an estimate and needs key=",
        ),
        (lambda x: flows.continuous(curved(), solver="tsit5"), TypeError, r"got 'tsit5'; pass diffrax.Tsit5\(\)"),
        (lambda x: flows.continuous(curved(), solver=diffrax.Tsit5), TypeError, "must be an instance of a diffrax"),
        (lambda x: flows.cnf(solver=diffrax.Euler()), TypeError, "with adaptive steps, got Euler"),
        (
            lambda x: flows.cnf(solver=diffrax.Tsit5(), tolerance=0.0),
            ValueError,
            "tolerance must be a finite number > 0, got 0.0",
        ),
        (
            lambda x: flows.continuous(curved(), solver=diffrax.Tsit5(), tolerance=1e-8).forward([], {}, x),
            ValueError,
            "tolerance=1e-08 is below the rounding of float32",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(jnp.asarray(X, jnp.float32))
