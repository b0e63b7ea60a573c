"""Adaptive steps along a velocity field, by the solvers of diffrax."""

from __future__ import annotations

__all__ = ["adaptive"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array

_MAX_STEPS = 4096

Rate = Callable[[Array, Array], tuple[Array, Array]]


def adaptive(solver: Any, *, tolerance: float, time: float) -> Callable[[Rate, Array, bool], tuple[Array, Array]]:
    """Return ``integrate(rate, x, backward) -> (z, log_det)``, with steps as short as the tolerance asks.

    It solves ``d(x, log_det)/dt = rate(x, t)`` from 0 to `time`, or backward, both as one state: a step is accepted
    when the root mean square of ``error / (tolerance + tolerance · |state|)`` over the whole state is below 1.
    Gradients are those of the steps taken, by recursive checkpoints. A path that is not finished after 4096 steps,
    as its velocity is too steep or not finite, ends in NaN with NaN gradients.

    Args:
      solver: an adaptive solver of diffrax for ordinary differential equations.
      tolerance: relative and absolute tolerance of a step, positive.

    Raises:
      ImportError: diffrax is not installed.
      TypeError: `solver` is not an instance of such a solver.
      ValueError: `tolerance` is not positive and finite, or, in a call, is below the rounding of x's dtype.

    Reference: Kidger, On Neural Differential Equations, 2021, arXiv:2202.02435.
    """
    try:
        import diffrax
    except ImportError as error:
        raise ImportError(
            f"continuous: solver={solver!r} needs diffrax, which is not installed; pip install 'vifx[ode]', or leave "
            "solver=None for the Runge–Kutta method."
        ) from error
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise TypeError(
            f"continuous: solver must be an instance of a diffrax solver with adaptive steps, got {solver!r}; pass "
            "diffrax.Tsit5() (or Dopri5(), Dopri8(), Kvaerno5()), or None."
        )
    require_number(tolerance, "continuous: tolerance", above=0)

    def integrate(rate: Rate, x: Array, backward: bool) -> tuple[Array, Array]:
        if tolerance < jnp.finfo(x.dtype).eps:
            raise ValueError(
                f"continuous: tolerance={tolerance!r} is below the rounding of {x.dtype}, {jnp.finfo(x.dtype).eps}; "
                "raise it or compute in a wider dtype."
            )
        start, end = (jnp.asarray(at, x.dtype) for at in ((time, 0) if backward else (0, time)))
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda now, moving, _: rate(moving[0], jnp.asarray(now))),
            solver,
            t0=start,
            t1=end,
            dt0=None,
            y0=(x, jnp.zeros(x.shape[0], x.dtype)),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
            max_steps=_MAX_STEPS,
            throw=False,
        )
        done = solution.result == diffrax.RESULTS.successful
        factor = jnp.where(done, jnp.ones((), x.dtype), jnp.nan)
        return jax.tree.map(lambda saved: saved[0] * factor, solution.ys)

    return integrate
