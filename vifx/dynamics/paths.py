"""Paths of differential equations at given times."""

from __future__ import annotations

__all__ = ["integrate", "ode_path", "solve"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require, require_choice, require_function
from vifx.core.nets import is_network
from vifx.core.types import Array, Key, Net, PyTree
from vifx.dynamics.adaptive import adaptive
from vifx.dynamics.field import as_field, checked_field, examples_of
from vifx.dynamics.steppers import METHODS, Stepper
from vifx.dynamics.times import Grid, known_times, step_grid


def solve(
    f: Callable[..., PyTree],
    x0: PyTree,
    times: Any,
    *given: Any,
    method: str = "rk4",
    substeps: int | None = None,
    step: float | None = None,
    checkpoint: bool = False,
    solver: Any = None,
    tolerance: float = 1e-5,
    adjoint: Any = None,
) -> PyTree:
    """Solve ``dx/dt = f(x, t, *given)`` from ``x(times[0]) = x0``; return the states at all times.

    * With `solver` None, by a method with steps of fixed size: a recurrence, run as one scan. The error is of order
      h for ``"euler"``, h² for ``"midpoint"`` and ``"heun"``, and h⁴ for ``"rk4"``, h the length of a step.
    * With a solver of diffrax, such as ``diffrax.Tsit5()``: with adaptive steps, for each example its own.

    From the step on in which a state overflows, it is infinite or NaN; `blow_up` says where that is. So is the state
    after times that do not increase, where they are not known before compilation.

    Args:
      f: a function of ``(x, t, *given)``, with t as ``[examples, 1]``, that returns an array like x. With a network,
        use `ode_path`, or give ``lambda x, t: net.apply(params, state, x, t)[0]``.
      x0: the states at the first time, ``[examples, *event]``, or a tree of such arrays.
      times: two or more that increase, ``[times]``, or ``[examples, times]`` for times of its own for each example.
        Shorter rows are filled up with later times, whose states the user then ignores.
      *given: further inputs of f, the same at all times, ``[examples, ...]``.
      method: ``"euler"``, ``"midpoint"``, ``"heun"`` or ``"rk4"``.
      substeps: how many steps of equal length lead from one time to the next; 1 if `step` is not given either.
      step: in place of it the longest length of a step, in the unit of the times: each interval is divided into as
        few equal steps as that allows. It needs times that are known before compilation.
      checkpoint: whether gradients keep only the states at the ends of groups of steps and compute the rest again,
        which saves memory and costs one more evaluation. The groups are the intervals where these have equally many
        steps, else the greatest common divisor of their numbers of steps.
      solver: None, or an instance of an adaptive diffrax solver; diffrax comes with ``pip install 'vifx[ode]'``.
      tolerance: relative and absolute tolerance of a step of `solver`; used with a solver alone.
      adjoint: how diffrax differentiates: None for the gradients of the steps taken, by recursive checkpoints, or
        ``diffrax.BacksolveAdjoint()`` for the adjoint equation, whose memory does not grow with the steps and whose
        error is about `tolerance`. The latter needs all that f depends on in `x0` and `given`.

    Returns:
      ``[examples, times, *event]``, or a tree of such arrays; the first is `x0`.

    Raises:
      ValueError: times that do not increase or have a wrong shape, a hyperparameter out of its range, or f returns
        something that is not like x.
      TypeError: f is not a function, `x0` is not real, or `solver` is not an adaptive solver's instance.
      ImportError: a solver is given and diffrax is not installed.

    References: Hairer, Nørsett & Wanner (1993), Solving Ordinary Differential Equations I; Chen et al. (2018),
    Neural Ordinary Differential Equations, arXiv:1806.07366.

    Example: exponential decay.
      >>> import jax.numpy as jnp
      >>> path = solve(lambda x, t: -x, jnp.ones((1, 1)), [0.0, 1.0, 2.0], substeps=10)
      >>> print([f"{x:.4f}" for x in path[0, :, 0]])
      ['1.0000', '0.3679', '0.1353']
    """
    if is_network(f):
        raise TypeError(
            "solve: f is a network, whose parameters are not given; use ode_path(f), a network of (x0, times), or give "
            "lambda x, t: net.apply(params, state, x, t)[0]."
        )
    require_function(f, "solve: f", "(x, t, *given) -> dx/dt")
    find = _finder("solve", method, substeps, step, checkpoint, solver, tolerance, adjoint)
    return find(lambda x, t, args: f(x, t, *args), x0, times, given)


def ode_path(
    f: Any,
    times: Any = None,
    *,
    method: str = "rk4",
    substeps: int | None = None,
    step: float | None = None,
    checkpoint: bool = False,
    solver: Any = None,
    tolerance: float = 1e-5,
    adjoint: Any = None,
) -> Net:
    """Return the path of a differential equation as a network: of ``(x0, *given)``, or of ``(x0, times, *given)``.

    Its parameters and its state are those of `f`; the state is read and not written. It is the deterministic part of a
    latent ODE's decoder, and `solve` has the mathematics.

    Args:
      f: a `Net`, a Flax Linen or NNX module, or a plain function, of ``(x, t, *given)`` with t as ``[examples, 1]``.
      times: as in `solve`; None if they are the second input of the network.
      method: as in `solve`.
      substeps: as in `solve`.
      step: as in `solve`.
      checkpoint: as in `solve`.
      solver: as in `solve`.
      tolerance: as in `solve`.
      adjoint: as in `solve`.

    Raises:
      ValueError: as in `solve`.
      TypeError: f is neither a network nor a function, or `solver` is not an adaptive solver's instance.
      ImportError: a solver is given and diffrax is not installed.
    """
    net = as_field(f, "ode_path")
    find = _finder("ode_path", method, substeps, step, checkpoint, solver, tolerance, adjoint)

    def split(inputs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        return (inputs[0], inputs[1:]) if times is None else (times, inputs)

    def init(key: Key, x0: PyTree, *inputs: Any) -> tuple[PyTree, PyTree]:
        leaf = jax.tree.leaves(x0)[0]
        return net.init(key, x0, jnp.zeros((leaf.shape[0], 1), leaf.dtype), *split(inputs)[1])

    def apply(
        params: PyTree, state: PyTree, x0: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[PyTree, PyTree]:
        at, given = split(inputs)

        def field(x: PyTree, t: Array, args: Any) -> PyTree:
            params, state, given = args
            return net.apply(params, state, x, t, *given, key=key, train=train)[0]

        return find(field, x0, at, given, (params, state)), state

    return Net(init, apply)


def _finder(
    owner: str,
    method: str,
    substeps: int | None,
    step: float | None,
    checkpoint: bool,
    solver: Any,
    tolerance: float,
    adjoint: Any,
) -> Callable[..., PyTree]:
    """Return ``find(field, x0, times, given, shared=()) -> path``, with ``field(x, t, (*shared, given))``."""
    require_choice(method, METHODS, f"{owner}: method")
    require(checkpoint, bool, f"{owner}: checkpoint", "a boolean", "give True or False")
    free = None if solver is None else adaptive(solver, tolerance=tolerance, owner=owner, adjoint=adjoint)
    if free is None and adjoint is not None:
        raise ValueError(f"{owner}: adjoint={adjoint!r} is diffrax's and needs solver=; give one, or checkpoint=True.")
    if free is not None and (substeps is not None or step is not None):
        raise ValueError(f"{owner}: solver={solver!r} chooses its own steps; leave substeps= and step= out.")

    def find(f: Callable[..., PyTree], x0: PyTree, times: Any, given: Any, shared: tuple[Any, ...] = ()) -> PyTree:
        examples = examples_of(x0, owner)
        x0 = jax.tree.map(jnp.asarray, x0)
        known, dtype = known_times(times, owner, examples=examples), jax.tree.leaves(x0)[0].dtype
        if free is None:  # steps of fixed size
            field = checked_field(lambda x, t: f(x, t, (*shared, given) if shared else given), x0, owner)
            grid = step_grid(known, dtype, substeps=substeps, step=step, owner=owner)
            return integrate(field, x0, grid, METHODS[method], checkpoint=checkpoint)
        each = jax.vmap(_alone(f, free, owner), in_axes=(0, 0 if known.ndim == 2 else None, 0, None))
        return each(x0, jnp.asarray(known, dtype), given, shared)

    return find


def _alone(f: Callable[..., PyTree], free: Callable[..., PyTree], owner: str) -> Callable[..., PyTree]:
    """Return ``(x0, times, given, shared) -> path`` of one example, by adaptive steps.

    They are found for times without gradients; what the path gains in time is its velocity.
    """

    def path(x0: PyTree, times: Array, given: Any, shared: tuple[Any, ...]) -> PyTree:
        x0, given = jax.tree.map(lambda leaf: leaf[None], (x0, given))
        args = (*shared, given) if shared else given
        field = checked_field(f, x0, owner)
        fixed, factor = _rising(jax.lax.stop_gradient(times))
        start = _since(x0, field(x0, fixed[0], args), -times[0])
        later = free(field, start, fixed, args)
        later = jax.tree.map(lambda kept: kept * _beside(factor.astype(kept.dtype), kept), later)
        later = _since(later, jax.vmap(lambda x, t: field(x, t, args))(later, fixed[1:]), times[1:])
        return jax.tree.map(lambda first, kept: jnp.concatenate([first, kept[:, 0]]), x0, later)

    return path


def _rising(times: Array) -> tuple[Array, Array]:
    """Return times that increase, and a factor for each after the first: NaN from where they had stopped to."""
    steps = times[1:] - times[:-1]
    wrong = jnp.cumsum(~(steps > 0)) > 0
    ahead = jnp.cumsum(jnp.where(wrong, jnp.ones_like(steps), steps))
    factor = jnp.where(wrong, jnp.nan, jnp.ones_like(steps))
    return jnp.where(
        jnp.concatenate([jnp.zeros(1, bool), wrong]), jnp.append(times[:1], times[0] + ahead), times
    ), factor


@jax.custom_jvp
def _since(x: PyTree, slope: PyTree, t: Array) -> PyTree:
    """Return x, whose derivative in t is `slope`; that is not computed where nobody asks for it."""
    del slope, t
    return x


@_since.defjvp
def _(primals: Any, tangents: Any) -> tuple[PyTree, PyTree]:
    (x, slope, _), (moved, _, passed) = primals, tangents
    return x, jax.tree.map(
        lambda moved, slope: moved + slope * _beside(passed.astype(slope.dtype), slope), moved, slope
    )


def _beside(times: Array, x: Array) -> Array:
    """Return numbers, one for each member of the first axis, in a shape that multiplies x."""
    return times if times.ndim == 0 else times.reshape(-1, *(1,) * (x.ndim - 1))


def integrate(
    field: Callable[[PyTree, Any], PyTree],
    x0: PyTree,
    grid: Grid,
    stepper: Stepper,
    *,
    checkpoint: bool,
    kicks: PyTree = None,
) -> PyTree:
    """Return the states at the times of a grid, ``[examples, times, *event]``, the first of which is `x0`.

    Args:
      field: ``(x, t) -> dx/dt``.
      grid: of `step_grid`.
      stepper: one of `METHODS`.
      checkpoint: whether gradients keep one state for each group of steps.
      kicks: what is added to the states at the ends of the groups, ``[groups, examples, *event]``; None for nothing.
    """

    def one(x: PyTree, start: Array, length: Array, index: Any) -> PyTree:
        return stepper(field, x, start + index * length, length)

    def group(x: PyTree, each: tuple[Array, Array, PyTree]) -> tuple[PyTree, PyTree]:
        start, length, kick = each
        if grid.steps == 1:
            x = one(x, start, length, 0.0)
        else:
            indices = jnp.arange(grid.steps, dtype=grid.starts.dtype)
            x, _ = jax.lax.scan(lambda x, index: (one(x, start, length, index), None), x, indices)
        x = x if kicks is None else jax.tree.map(jnp.add, x, kick)
        return x, x

    body = jax.checkpoint(group, prevent_cse=False) if checkpoint else group
    _, kept = jax.lax.scan(body, x0, (grid.starts, grid.lengths, kicks))
    return jax.tree.map(
        lambda first, later: jnp.concatenate([first[:, None], jnp.moveaxis(later[grid.ends], 0, 1)], axis=1), x0, kept
    )
