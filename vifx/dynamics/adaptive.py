"""Adaptive steps along a differential equation, by the solvers of diffrax."""

from __future__ import annotations

__all__ = ["adaptive", "forward_mode"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array, PyTree

_MAX_STEPS = 4096


def adaptive(
    solver: Any, *, tolerance: float, owner: str, adjoint: Any = None
) -> Callable[[Callable[..., PyTree], PyTree, Array, PyTree], PyTree]:
    """Return ``integrate(f, x0, times, given) -> path``, with steps as short as the tolerance asks.

    It solves ``dx/dt = f(x, t, given)`` from ``times[0]``, where the state is `x0`, and returns the states at the
    times after it, stacked along a new first axis. The times rise or fall. All of the state is one vector to the
    solver: a step is accepted when the root mean square of ``error / (tolerance + tolerance · |state|)`` is below 1.
    Steps end at the times that are asked for, so no state is interpolated. A path that is not finished after 4096
    steps, because it is too steep or not finite, is NaN from there on, with NaN gradients.

    Args:
      solver: an adaptive solver of diffrax for ordinary differential equations.
      tolerance: relative and absolute tolerance of a step, positive.
      owner: who asks, for messages.
      adjoint: how diffrax differentiates; None for its recursive checkpoints, the gradients of the steps taken.

    Raises:
      ImportError: diffrax is not installed.
      TypeError: `solver` or `adjoint` is not an instance of such a class.
      ValueError: `tolerance` is not positive and finite, or, in a call, is below the rounding of the state's dtype.

    Reference: Kidger, On Neural Differential Equations, 2021, arXiv:2202.02435.
    """
    diffrax = _library(solver, adjoint, owner)
    require_number(tolerance, f"{owner}: tolerance", above=0)
    how = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint

    def integrate(f: Callable[..., PyTree], x0: PyTree, times: Array, given: PyTree) -> PyTree:
        for leaf in jax.tree.leaves(x0):
            if tolerance < jnp.finfo(leaf.dtype).eps:
                raise ValueError(
                    f"{owner}: tolerance={tolerance!r} is below the rounding of {leaf.dtype}, "
                    f"{jnp.finfo(leaf.dtype).eps}; raise it or compute in a wider dtype."
                )
        controller: Any = diffrax.PIDController(rtol=tolerance, atol=tolerance)
        if len(times) > 2:
            controller = diffrax.ClipStepSizeController(controller, step_ts=times[1:-1])
        inputs, structure = jax.tree.flatten(given)  # the adjoint equation is for trees without empty nodes

        def velocity(now: Any, x: PyTree, inputs: Any) -> PyTree:
            return f(x, jnp.asarray(now), jax.tree.unflatten(structure, inputs or []))

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(velocity),
            solver,
            t0=times[0],
            t1=times[-1],
            dt0=None,
            y0=x0,
            args=inputs or None,
            stepsize_controller=controller,
            saveat=diffrax.SaveAt(t1=True) if len(times) == 2 else diffrax.SaveAt(ts=times[1:]),
            adjoint=how,
            max_steps=_MAX_STEPS,
            throw=False,
        )
        failed = solution.result != diffrax.RESULTS.successful

        def marked(kept: Array) -> Array:
            # At saved times that were not reached diffrax has infinities; a single end is where the steps stopped.
            missed = ~jnp.all(jnp.isfinite(kept.reshape(len(kept), -1)), axis=1) | (len(times) == 2)
            one = jnp.ones((), kept.dtype)
            factor = jnp.where(failed & missed, jnp.nan, one)  # a factor, so that gradients are NaN as well
            return kept * factor.reshape(-1, *(1,) * (kept.ndim - 1))

        return jax.tree.map(marked, solution.ys)

    return integrate


def forward_mode(solver: Any, owner: str) -> Any:
    """Return diffrax's way to differentiate forward, which Jacobians of few parameters need."""
    return _library(solver, None, owner).ForwardMode()


def _library(solver: Any, adjoint: Any, owner: str) -> Any:
    """Return diffrax, after a look at what is to be given to it."""
    try:
        import diffrax
    except ImportError as error:
        raise ImportError(
            f"{owner}: solver={solver!r} needs diffrax, which is not installed; pip install 'vifx[ode]', or leave "
            "solver=None for the Runge–Kutta method."
        ) from error
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise TypeError(
            f"{owner}: solver must be an instance of a diffrax solver with adaptive steps, got {solver!r}; pass "
            "diffrax.Tsit5() (or Dopri5(), Dopri8(), Kvaerno5()), or None."
        )
    if adjoint is not None and not isinstance(adjoint, diffrax.AbstractAdjoint):
        raise TypeError(
            f"{owner}: adjoint must be an instance of a diffrax adjoint, got {adjoint!r}; pass "
            "diffrax.BacksolveAdjoint(), or None for the gradients of the steps taken."
        )
    return diffrax
