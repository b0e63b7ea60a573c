"""Paths at given times: closed forms, orders, times and steps, gradients, adaptive solvers, bad input."""

from __future__ import annotations

import sys

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from flax import linen

from vifx import dynamics, nets

X0 = np.random.default_rng(0).normal(size=(3, 2))
TIMES = np.array([0.0, 0.3, 0.5, 1.1, 1.5])
OWN = np.stack([TIMES, 2 * TIMES + 1, TIMES**2 + TIMES])
MATRIX = np.array([[-0.2, 1.3], [-0.9, 0.1]])


def turning(x, t):
    """A linear field whose speed depends on the time: ``x(t) = exp(M ∫ cos) x0``."""
    return jnp.cos(t) * (x @ jnp.asarray(MATRIX.T, x.dtype))


def turned(x0, times):
    angles = np.sin(times) - np.sin(times[..., :1])
    maps = scipy.linalg.expm(angles[..., None, None] * MATRIX)
    return np.einsum("...tij,...j->...ti", maps, x0) if times.ndim == 2 else np.einsum("tij,nj->nti", maps, x0)


def pendulum(x, t, pull):
    """Not linear, and pushed: the state is angle and speed, `pull` one number for each example."""
    return jnp.stack([x[:, 1], -pull[:, 0] * jnp.sin(x[:, 0]) + 0.3 * jnp.sin(2 * t[:, 0])], axis=1)


@pytest.mark.thorough
@pytest.mark.parametrize("times", [OWN, TIMES], ids=["own", "shared"])
def test_a_linear_field_is_a_matrix_exponential(x64, times):
    path = jax.jit(lambda x0: dynamics.solve(turning, x0, times, step=0.01))(X0)
    np.testing.assert_allclose(path, turned(X0, times), rtol=1e-7)
    adaptive = jax.jit(lambda x0: dynamics.solve(turning, x0, times, solver=diffrax.Tsit5(), tolerance=1e-10))(X0)
    np.testing.assert_allclose(adaptive, turned(X0, times), rtol=1e-8)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_the_order_of_a_method(x64, method, order):
    """From one number of steps to twice as many the error falls by 2 to the order, at every time of every example."""
    pull = np.array([[1.0], [0.5], [2.0]])
    exact = [
        scipy.integrate.solve_ivp(
            lambda t, x, p=p: [x[1], -p * np.sin(x[0]) + 0.3 * np.sin(2 * t)],
            (0, 1.5),
            x0,
            "DOP853",
            TIMES,
            rtol=1e-13,
            atol=1e-13,
        ).y.T
        for x0, p in zip(X0, pull[:, 0], strict=True)
    ]
    few = {1: 200, 2: 40, 4: 8}[order]
    errors = [
        np.linalg.norm(
            dynamics.solve(pendulum, X0, TIMES, pull, method=method, substeps=count)[:, 1:] - np.stack(exact)[:, 1:]
        )
        for count in (few, 2 * few)
    ]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.1


@pytest.mark.thorough
def test_a_path_is_the_recurrence_written_out(x64):
    """Euler's in NumPy, on unequal intervals, with the same times and with their own; `ode_path`; `ode_step`."""
    pull = np.array([[1.0], [0.5], [2.0]])
    for times in (TIMES, OWN):
        counts = np.ceil(np.diff(times, axis=-1).reshape(-1, 4).max(axis=0) / 0.25 - 1e-3).astype(int)
        own, x, expected = np.broadcast_to(times, (3, 5)), X0, [X0]
        for i, count in enumerate(counts):
            h = (own[:, i + 1] - own[:, i])[:, None] / count
            for k in range(count):
                x = x + h * np.asarray(pendulum(x, own[:, i][:, None] + k * h, pull))
            expected.append(x)
        expected = np.stack(expected, axis=1)
        path = dynamics.solve(pendulum, X0, times, pull, method="euler", step=0.25)
        np.testing.assert_allclose(path, expected, rtol=1e-12)
        whole = dynamics.ode_path(pendulum, times, method="euler", step=0.25)
        np.testing.assert_allclose(whole.apply({}, {}, X0, pull)[0], expected, rtol=1e-12)
        given = dynamics.ode_path(pendulum, method="euler", substeps=3)
        traced = jax.jit(lambda at: given.apply({}, {}, X0, at, pull)[0])(times)  # noqa: B023
        np.testing.assert_allclose(
            traced, dynamics.solve(pendulum, X0, times, pull, method="euler", substeps=3), rtol=1e-12
        )
        stepper = dynamics.ode_step(pendulum, method="euler", substeps=3, length=None)
        x, steps = jnp.asarray(X0), [X0]
        for i in range(4):
            x, _ = stepper.apply({}, {}, x, own[:, i : i + 1], own[:, i + 1 : i + 2] - own[:, i : i + 1], pull)
            steps.append(x)
        np.testing.assert_allclose(traced, np.stack(steps, axis=1), rtol=1e-12)


@pytest.mark.first(1)
@pytest.mark.parametrize(
    "how", [{"substeps": 3}, {"solver": diffrax.Tsit5(), "tolerance": 1e-10}], ids=["rk4", "tsit5"]
)
def test_a_state_may_be_a_tree(x64, how):
    def both(x, t):
        return {"angle": x["speed"], "speed": -jnp.sin(x["angle"]) * t[:, :, None]}

    flat = dynamics.solve(
        lambda x, t: jnp.stack([x[:, 1], -jnp.sin(x[:, 0]) * t], axis=1), X0[:, :, None], TIMES, substeps=3
    )
    tree = {"angle": X0[:, :1, None], "speed": X0[:, 1:, None]}
    path = dynamics.solve(both, tree, TIMES, **how)
    rtol = 1e-12 if "substeps" in how else 1e-4
    np.testing.assert_allclose(path["angle"][:, :, 0], flat[:, :, 0], rtol=rtol)
    np.testing.assert_allclose(path["speed"][:, :, 0], flat[:, :, 1], rtol=rtol)


class Velocity(linen.Module):
    @linen.compact
    def __call__(self, x, t):
        hidden = jnp.tanh(linen.Dense(5, param_dtype=x.dtype)(jnp.concatenate([x, t], axis=1)))
        return linen.Dense(x.shape[1], param_dtype=x.dtype)(hidden)


ADAPTIVE = {"solver": diffrax.Tsit5(), "tolerance": 1e-10}


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("how", "rtol"),
    [
        ({"substeps": 40, "checkpoint": True}, 1e-12),
        ({**ADAPTIVE, "adjoint": diffrax.BacksolveAdjoint()}, 1e-6),
        (ADAPTIVE, 1e-6),
    ],
    ids=["checkpoints", "adjoint equation", "adaptive"],
)
def test_gradients_are_the_direct_ones(x64, how, rtol):
    """By parameters, first states and times; the direct ones against differences."""
    x0 = jnp.asarray(X0)
    params, state = jax.jit(dynamics.ode_path(Velocity(), TIMES).init)(jax.random.key(0), x0)

    def loss(how, params, x0, times):
        path, _ = dynamics.ode_path(Velocity(), **how).apply(params, state, x0, times)
        return jnp.sum(jnp.sin(path) * jnp.arange(1.0, 6)[None, :, None])

    def gradient(how):
        return jax.jit(jax.value_and_grad(lambda *inputs: loss(how, *inputs), argnums=(0, 1, 2)))

    at = (params, x0, jnp.asarray(TIMES))
    both = gradient({"substeps": 40})
    direct = both(*at)[1]
    for one, other in zip(jax.tree.leaves(gradient(how)(*at)[1]), jax.tree.leaves(direct), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())
    if "checkpoint" in how:
        along = jax.tree.map(lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), direct)
        ends = [both(*jax.tree.map(lambda a, b, h=h: a + h * b, at, along))[0] for h in (1e-5, -1e-5)]
        slope = sum(jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (direct, along)), strict=True))
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, slope, rtol=1e-7)


@pytest.mark.thorough
def test_checkpoints_keep_one_state_an_interval():
    x0 = jnp.zeros((50, 2))

    def memory(count, checkpoint):
        path = dynamics.ode_path(Wide(), np.arange(count + 1.0), substeps=4, checkpoint=checkpoint)
        params, state = path.init(jax.random.key(0), x0)
        gradient = jax.jit(jax.grad(lambda params: jnp.sum(path.apply(params, state, x0)[0] ** 2)))
        return gradient.lower(params).compile().memory_analysis().temp_size_in_bytes

    state = 4 * x0.size
    assert (memory(64, True) - memory(32, True)) / 32 < 4 * state
    assert (memory(64, False) - memory(32, False)) / 32 > 4 * 4 * 50 * 256


class Wide(linen.Module):
    @linen.compact
    def __call__(self, x, t):
        return linen.Dense(x.shape[1])(jnp.tanh(linen.Dense(256)(x)))


@pytest.mark.first(1)
@pytest.mark.parametrize("how", [{}, {"solver": diffrax.Tsit5(), "tolerance": 1e-8}], ids=["rk4", "tsit5"])
def test_times_that_stop_to_increase_in_a_compiled_function_end_in_nan(x64, how):
    """From there on alone; and the same values as without compilation before."""
    times = jnp.asarray([0.0, 0.3, 0.5, 0.5, 1.5])
    path = jax.jit(lambda times: dynamics.solve(turning, jnp.asarray(X0), times, **how))(times)
    before = dynamics.solve(turning, X0, TIMES[:3], **how)
    np.testing.assert_allclose(path[:, :3], before, rtol=1e-6)
    assert np.isnan(path[:, 3:]).all()


@pytest.mark.first(1)
@pytest.mark.parametrize(
    ("times", "how"),
    [
        (TIMES, {"step": 0.1}),
        ([0, 1, 2], {"solver": diffrax.Tsit5()}),
        (TIMES.astype(np.float32), {"step": 0.1}),
        (TIMES, {"solver": diffrax.Tsit5()}),
    ],
)
def test_single_precision_stays_single(x64, times, how):
    """Beside double precision, with times of either kind; integers are times as well."""
    path = jax.jit(lambda x0: dynamics.solve(turning, x0, times, **how))(X0.astype(np.float32))
    assert path.dtype == np.float32
    np.testing.assert_allclose(path, turned(X0, np.asarray(times, float)), rtol=1e-3, atol=1e-4)


NETWORK = nets.from_functions(lambda key, x, t: {}, lambda params, x, t: x)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: dynamics.solve(turning, X0, [0.0, 1.0, 1.0]),
            ValueError,
            r"times\[1\] = 1 is followed by times\[2\] = 1;",
        ),
        (lambda: dynamics.solve(turning, X0, OWN[:, ::-1]), ValueError, r"times\[0\] = 1.5 .* of example 0"),
        (lambda: dynamics.solve(turning, X0, [0.0, np.nan]), ValueError, "times must increase"),
        (lambda: dynamics.solve(turning, X0, [0.0]), ValueError, r"with at least 2 times, got \[1\]"),
        (lambda: dynamics.solve(turning, X0, OWN[:2]), ValueError, r"\[times\] or \[3, times\] .* got \[2, 5\]"),
        (lambda: dynamics.solve(turning, X0, TIMES, substeps=0), ValueError, "substeps must be an integer ≥ 1, got 0"),
        (lambda: dynamics.solve(turning, X0, TIMES, step=0.0), ValueError, "step must be a finite number > 0"),
        (lambda: dynamics.solve(turning, X0, TIMES, step=0.1, substeps=2), ValueError, "not both"),
        (
            lambda: dynamics.solve(turning, X0, TIMES, method="rk45"),
            ValueError,
            "must be one of euler, midpoint, heun, rk4",
        ),
        (lambda: dynamics.solve(turning, X0[0, 0], TIMES), ValueError, r"a single state is x\[None\]"),
        (lambda: dynamics.solve(turning, np.ones((3, 2), int), TIMES), TypeError, "x0 must be real, got int"),
        (lambda: dynamics.solve(lambda x, t: x[:, :1], X0, TIMES), ValueError, r"\[3, 2\] to float\d\d\[3, 1\]"),
        (lambda: dynamics.solve(NETWORK, X0, TIMES), TypeError, r"use ode_path\(f\)"),
        (lambda: dynamics.solve("decay", X0, TIMES), TypeError, "f must be a function"),
        (lambda: dynamics.ode_path("decay"), TypeError, "f must be a function"),
        (lambda: dynamics.solve(turning, X0, TIMES, solver="tsit5"), TypeError, r"solve: .* pass diffrax.Tsit5\(\)"),
        (
            lambda: dynamics.solve(turning, X0, TIMES, solver=diffrax.Tsit5(), step=0.1),
            ValueError,
            "chooses its own steps",
        ),
        (
            lambda: dynamics.solve(turning, X0, TIMES, adjoint=diffrax.BacksolveAdjoint()),
            ValueError,
            "needs solver=",
        ),
        (
            lambda: dynamics.solve(turning, X0, TIMES, solver=diffrax.Tsit5(), adjoint="backsolve"),
            TypeError,
            "adjoint must be an instance of a diffrax adjoint, got 'backsolve'",
        ),
        (
            lambda: jax.jit(lambda times: dynamics.solve(turning, jnp.asarray(X0), times, step=0.1))(TIMES),
            ValueError,
            "step=0.1 needs times that are known before compilation",
        ),
        (lambda: dynamics.ode_step(turning, method="rk5"), ValueError, "method must be one of"),
        (lambda: dynamics.ode_step(turning, substeps=0), ValueError, "substeps must be an integer ≥ 1"),
        (lambda: dynamics.ode_step(turning, length=-1.0), ValueError, "length must be a finite number > 0"),
        (
            lambda: dynamics.ode_step(turning).apply({}, {}, jnp.asarray(X0), jnp.zeros(3)),
            ValueError,
            r"t must have the shape \[3, 1\], got \[3\]",
        ),
        (
            lambda: dynamics.ode_step(turning, length=None).apply({}, {}, jnp.asarray(X0), jnp.zeros((3, 1)), 0.1),
            ValueError,
            r"length must have the shape \[3, 1\], got \[\]",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_diffrax_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(
        ImportError, match=r"solve: .* needs diffrax, which is not installed; pip install 'vifx\[ode\]'"
    ):
        dynamics.solve(turning, X0, TIMES, solver="tsit5")
