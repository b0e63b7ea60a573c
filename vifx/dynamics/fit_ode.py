"""Parameters of a differential equation from observations of its path: least squares by shooting."""

from __future__ import annotations

__all__ = ["fit_ode"]

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.checks import described, require_choice, require_function, require_number
from vifx.core.types import Array, PyTree
from vifx.dynamics.adaptive import forward_mode
from vifx.dynamics.field import require_values
from vifx.dynamics.least_squares import LeastSquares, collected, minimizer
from vifx.dynamics.shooting import Shooting
from vifx.dynamics.steppers import METHODS
from vifx.dynamics.times import known_times


def fit_ode(
    f: Callable[..., Array],
    starts: PyTree,
    times: Any,
    values: Any,
    *,
    x0: Any,
    observe: Callable[[Array], Array] | None = None,
    mask: Any = None,
    knots: Any = None,
    continuity: Sequence[float] = (1.0, 100.0),
    positive: bool = True,
    steps: int = 500,
    method: str = "rk4",
    substeps: int | None = None,
    step: float | None = None,
    solver: Any = None,
    tolerance: float = 1e-8,
) -> LeastSquares:
    """Fit the parameters of ``dx/dt = f(x, t, params)`` to observed values by least squares, from many starts.

    What is minimized in the end is the residual sum of squares of the one path from `x0`,

      ``RSS(params) = Σ_t |observe(x(t)) − values_t|²``   (single shooting),

    the negative log-likelihood of Gaussian noise up to scale and a constant. From far away this path may blow up or lie
    in a bad minimum. So first come stages of **multiple shooting**: the states at all times but the first are unknown
    as well (knots), each interval is solved from its own knot, and the residuals are those of the knots together with
    the gaps that remain between the intervals, multiplied by one of `continuity` after the other:

      ``Σ_t |observe(k_t) − values_t|² + c² Σ_t |x(t; k_{t−1}) − k_t|²``.

    The intervals are short, so nothing explodes, and the residuals are nearly linear in knots and parameters. Every
    stage is the method of `least_squares`; all starts and stages are one compiled program, which takes as long as the
    slowest start, and the result counts the starts that have failed.

    Args:
      f: a function of ``(x, t, params)``, with x as ``[examples, *event]``, t as ``[examples, 1]`` and the leaves of
        params as ``[examples, ...]``.
      starts: parameters, leaves ``[starts, ...]``, such as those of `scattered`.
      times: ``[times]`` or ``[examples, times]``, increasing; values of them, not of a function that is compiled.
      values: what was observed, ``[examples, times, *observed]``.
      x0: the states at the first time, ``[examples, *event]``; or a function of the parameters, leaves
        ``[examples, ...]``, that returns them, where they are unknown.
      observe: what is seen of a path ``[examples, times, *event]``; None for all of it.
      mask: booleans like `values`, or ``[examples, times]``: false where a value is missing.
      knots: the first states of the intervals, where multiple shooting starts: ``[examples, times, *event]``, of
        which the first time is not used. None for `values` where the whole state is observed at all times, else for
        `x0` at all times.
      continuity: weights of the gaps in units of the state, one for each stage; empty for single shooting alone.
      positive: whether parameters are positive, and sought by their logarithms.
      steps: the most that a stage may take.
      method: as in `solve`.
      substeps: as in `solve`.
      step: as in `solve`.
      solver: as in `solve`.
      tolerance: of `solver`.

    Raises:
      ValueError: arrays of wrong shapes, a number out of its range, or no start has finite residuals.
      TypeError: something that is not a function.
      ImportError: optimistix is not installed; it comes with ``pip install 'vifx[ode]'``.

    References: Bock (1983), Recent advances in parameter identification techniques for O.D.E.; Ramsay, Hooker, Campbell
    & Cao (2007), Parameter estimation for differential equations.
    """
    require_function(f, "fit_ode: f", "(x, t, params) -> dx/dt")
    require_choice(method, METHODS, "fit_ode: method")
    _check_continuity(continuity)
    if not callable(x0):
        require_values(x0, "fit_ode: x0")
    data = jnp.asarray(require_values(values, "fit_ode: values"))
    seen = _seen(data, mask)
    problem = Shooting(
        f=f,
        times=_times(times, data),
        values=data,
        seen=seen,
        x0=x0,
        observe=_whole if observe is None else require_function(observe, "fit_ode: observe", "path -> seen"),
        positive=positive,
        how=_options(method, substeps, step, solver, tolerance),
    )
    given = _knots(knots, data)
    minimize = minimizer(steps, None, "fit_ode")

    def stage(both: tuple[PyTree, Array], weight: Array) -> tuple[tuple[PyTree, Array], Array]:
        both, _, _, taken = minimize(lambda both: problem.multiple(both[0], both[1], weight), both)
        return both, taken

    def staged(raw: PyTree) -> tuple[PyTree, Array, Array, Array]:
        total = jnp.zeros((), int)
        if continuity:
            later = given
            if later is None:
                first = problem.first(raw)
                later = jnp.broadcast_to(first[:, None], (*data.shape[:2], *first.shape[1:]))
                later = jnp.where(seen, data, later) if observe is None else later
            (raw, _), taken = jax.lax.scan(stage, (raw, later[:, 1:]), jnp.asarray(continuity, data.dtype))
            total += jnp.sum(taken)
        raw, rss, done, taken = minimize(problem.single, raw)
        return raw, rss, done, total + taken

    rounding = float(jnp.finfo(data.dtype).eps * jnp.sum(jnp.where(seen, data, 0) ** 2))
    return collected(staged, starts, positive=positive, rounding=rounding, owner="fit_ode")


def _check_continuity(continuity: Sequence[float]) -> None:
    if not isinstance(continuity, Sequence):
        raise TypeError(f"fit_ode: continuity must be a sequence of numbers, got {described(continuity)}.")
    for weight in continuity:
        require_number(weight, "fit_ode: continuity", above=0)


def _whole(path: Array) -> Array:
    return path


def _options(method: str, substeps: int | None, step: float | None, solver: Any, tolerance: float) -> dict[str, Any]:
    """Return the options of `solve`; least squares differentiate forward."""
    how: dict[str, Any] = {"method": method, "substeps": substeps, "step": step}
    if solver is None:
        return how
    return {**how, "solver": solver, "tolerance": tolerance, "adjoint": forward_mode(solver, "fit_ode")}


def _times(times: Any, data: Array) -> NDArray[Any]:
    known = np.asarray(known_times(times, "fit_ode", examples=len(data)))
    if known.shape[-1] != data.shape[1]:
        raise ValueError(
            f"fit_ode: times must have as many times as values, [{data.shape[1]}], got [{known.shape[-1]}]."
        )
    return known


def _knots(knots: Any, data: Array) -> Array | None:
    if knots is None:
        return None
    require_values(knots, "fit_ode: knots")
    if jnp.shape(knots)[:2] != data.shape[:2]:
        raise ValueError(
            f"fit_ode: knots must have the shape [{data.shape[0]}, {data.shape[1]}, *event], got "
            f"{list(jnp.shape(knots))}."
        )
    return jnp.asarray(knots, data.dtype)


def _seen(data: Array, mask: Any) -> Array:
    """Return booleans like the data."""
    if data.ndim < 3 or data.shape[1] < 2:
        raise ValueError(
            f"fit_ode: values must have the shape [examples, times, *observed], got {list(data.shape)}; one path is "
            "values[None]."
        )
    seen = jnp.ones(data.shape, bool) if mask is None else jnp.asarray(require_values(mask, "fit_ode: mask"))
    if seen.dtype != bool or seen.shape not in (data.shape, data.shape[:2]):
        raise ValueError(
            f"fit_ode: mask must be booleans {list(data.shape[:2])} or {list(data.shape)}, got {seen.dtype}"
            f"{list(seen.shape)}."
        )
    seen = jnp.broadcast_to(seen.reshape(*seen.shape, *(1,) * (data.ndim - seen.ndim)), data.shape)
    if not bool(jnp.any(seen[:, 1:])):
        raise ValueError("fit_ode: mask hides every value after the first time; nothing is left to fit.")
    return seen
