"""Where a path stops being finite: a solution with a pole, for each example and each method."""

from __future__ import annotations

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vifx import dynamics

X0 = np.array([[0.5, 0.9], [2.2, 0.1], [-1.0, -2.0]])
"""Of ``dx/dt = x²``, whose solution ``x0 / (1 − x0 t)`` has a pole at ``1/x0``: at 1.11, at 0.45, nowhere."""
TIMES = np.linspace(0, 1.5, 7)


def paths(**how):
    return jax.jit(lambda x0: dynamics.solve(lambda x, t: x**2, x0, TIMES, **how))(X0)


@pytest.mark.first(1)
@pytest.mark.parametrize("how", [{"step": 1e-4}, {"solver": diffrax.Tsit5(), "tolerance": 1e-8}], ids=["rk4", "tsit5"])
def test_the_pole_is_named_with_its_time(x64, how):
    """Before it the states are the solution's; from it on nothing is finite; who has no pole is not disturbed."""
    path = paths(**how)
    first = jax.jit(dynamics.blow_up)(path)
    for example, pole in enumerate((1 / 0.9, 1 / 2.2)):
        end = int(first[example])
        assert TIMES[end - 1] < pole < TIMES[end]
        at = TIMES[:end, None]
        np.testing.assert_allclose(path[example, :end], X0[example] / (1 - X0[example] * at), rtol=1e-5)
        assert not np.isfinite(path[example, end:]).all(axis=1).any()
    assert first[2] == len(TIMES)
    np.testing.assert_allclose(path[2], X0[2] / (1 - X0[2] * TIMES[:, None]), rtol=1e-6)
    with pytest.raises(
        dynamics.BlowUpError, match=r"of example 1 stops .* between t = 0.25 and t = 0.5; so are 1 more of"
    ) as info:
        dynamics.require_finite(path, TIMES)
    assert (info.value.examples, info.value.first) == ((0, 1), (5, 2))
    assert dynamics.require_finite(path[2:], np.broadcast_to(TIMES, (1, 7))) is not None


def test_a_tree_and_its_own_times():
    whole = np.ones((2, 3, 1))
    broken = whole.copy()
    broken[1, 2] = np.nan
    broken[0, 0] = np.inf
    np.testing.assert_array_equal(dynamics.blow_up({"a": jnp.asarray(whole), "b": jnp.asarray(broken)}), [0, 2])
    with pytest.raises(dynamics.BlowUpError, match="example 0 stops being finite from the first time, 5, on"):
        dynamics.require_finite({"a": whole, "b": broken}, np.array([[5, 6, 7], [0, 1, 2]]))
    with pytest.raises(ValueError, match=r"times must have the shape \[3\] or \[2, 3\]"):
        dynamics.require_finite(whole, np.arange(4))
    assert dynamics.require_finite(whole, np.arange(3)) is whole


def test_the_norms_of_gradients_by_time(x64):
    """Of a linear recurrence: the loss of the last state alone is ``‖(Aᵀ)^(T−t) ∂L/∂x_T‖``, which explodes."""
    matrix = np.array([[1.5, 0.4], [-0.3, 2.0]])
    times, x0 = np.arange(6.0), np.array([[1.0, -2.0], [0.5, 0.3]])
    norms = jax.jit(
        lambda x0: dynamics.grad_norm(
            lambda path: jnp.sum(path[:, -1] ** 2), lambda x, t: x @ matrix.T, x0, times, method="euler", substeps=2
        )
    )(x0)
    half = np.eye(2) + 0.5 * matrix
    step = half @ half
    for example, start in enumerate(x0):
        last = np.linalg.matrix_power(step, 5) @ start
        expected = [np.linalg.norm(np.linalg.matrix_power(step.T, 5 - t) @ (2 * last)) for t in range(6)]
        np.testing.assert_allclose(norms[example], expected, rtol=1e-10)
    assert norms[0, 0] > 100 * norms[0, -1]


@pytest.mark.thorough
def test_the_norms_of_gradients_count_every_path_of_influence(x64):
    """Of a loss of all states, with steps of unequal number, against the gradient of what is left from each state."""
    times, x0 = np.array([0.0, 0.3, 0.5, 1.1]), np.array([[1.0, -2.0], [0.5, 0.3]])
    field = lambda x, t, pull: jnp.sin(x[:, ::-1]) * pull + t  # noqa: E731
    pull, how = np.array([[1.0], [0.5]]), {"method": "midpoint", "step": 0.1}
    loss = lambda path: jnp.sum(jnp.cos(path) * jnp.arange(1.0, 5)[None, :, None])  # noqa: E731
    norms = dynamics.grad_norm(loss, field, x0, times, pull, **how)
    path = dynamics.solve(field, x0, times, pull, **how)
    for t in range(3):

        def rest(x, t=t):
            return loss(jnp.concatenate([path[:, :t], dynamics.solve(field, x, times[t:], pull, **how)], axis=1))

        np.testing.assert_allclose(norms[:, t], np.linalg.norm(jax.grad(rest)(path[:, t]), axis=1), rtol=1e-10)
    np.testing.assert_allclose(norms[:, 3], np.linalg.norm(4 * np.sin(path[:, 3]), axis=1), rtol=1e-10)
