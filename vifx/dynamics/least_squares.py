"""Nonlinear least squares from many starts, in one compiled program."""

from __future__ import annotations

__all__ = ["LeastSquares", "collected", "least_squares", "minimizer", "natural", "scattered", "unconstrained"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.checks import require, require_function, require_integer, require_key, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.dynamics.field import require_values

Minimizer = Callable[[Callable[[PyTree], PyTree], PyTree], tuple[PyTree, Array, Array, Array]]
"""``(residuals, start) -> (where it ended, residual sum of squares, whether it converged, steps)``."""


@dataclass(frozen=True, eq=False, repr=False)
class LeastSquares:
    """What least squares from many starts have found.

    Attributes:
      params: the best parameters, those of the least residual sum of squares.
      rss: their residual sum of squares.
      every: where each start has ended, leaves ``[starts, ...]``.
      every_rss: the residual sum of squares there, ``[starts]``; not finite where a start has no finite residuals.
      converged: which starts have converged to anything, ``[starts]``.
      reached: which of them have reached `rss`, up to a thousandth or to rounding, ``[starts]``.
      steps: how many steps each has taken, ``[starts]``.
    """

    params: PyTree
    rss: float
    every: PyTree
    every_rss: NDArray[Any]
    converged: NDArray[Any]
    reached: NDArray[Any]
    steps: NDArray[Any]

    @property
    def failures(self) -> int:
        """How many starts have not reached the best residual sum of squares."""
        return int(np.sum(~self.reached))

    def __repr__(self) -> str:
        starts = len(self.reached)
        parts = [f"RSS {self.rss:.4g}", f"reached by {starts - self.failures} of {starts} starts"]
        elsewhere = self.converged & ~self.reached & np.isfinite(self.every_rss)
        if elsewhere.any():
            parts.append(
                f"{elsewhere.sum()} converged to other minima (the next: RSS {self.every_rss[elsewhere].min():.4g})"
            )
        stopped = ~self.reached & ~elsewhere & np.isfinite(self.every_rss)
        if stopped.any():
            parts.append(f"{stopped.sum()} did not converge")
        lost = ~np.isfinite(self.every_rss)
        if lost.any():
            parts.append(f"{lost.sum()} had no finite residuals")
        return f"LeastSquares({', '.join(parts)})"


def least_squares(
    residuals: Callable[[PyTree], PyTree],
    starts: PyTree,
    *,
    positive: bool = False,
    steps: int = 500,
    tolerance: float | None = None,
) -> LeastSquares:
    """Minimize ``Σ residuals²`` from many starts at once, by the method of Levenberg and Marquardt.

    All starts are one compiled program. Residuals are divided by their norm at the start, so that the method, whose
    first damping is 1, does not depend on their unit, and at first moves parameters by about 1 at most. Where residuals
    are not finite, as a path has blown up, a step is not taken and a shorter one is tried; a start whose own residuals
    are not finite fails. The result counts the failures.

    Args:
      residuals: of one set of parameters; an array or a tree of arrays.
      starts: parameters, leaves ``[starts, ...]``, such as those of `scattered`.
      positive: whether parameters are positive numbers, which are then sought by their logarithms.
      steps: the most that a start may take.
      tolerance: relative, of parameters and residuals, at which a start has converged; None for the square root of
        the rounding of their dtype.

    Raises:
      ImportError: optimistix is not installed; it comes with ``pip install 'vifx[ode]'``.
      ValueError: starts without a leading axis, or not positive where they must be; a number out of its range.
      TypeError: residuals is not a function.

    References: Marquardt (1963), An algorithm for least-squares estimation of nonlinear parameters; Rader, Lyons &
    Kidger (2024), Optimistix, arXiv:2402.09983.

    Example:
      >>> import jax.numpy as jnp
      >>> least_squares(lambda x: jnp.stack([x**2 - 4, x - 2]), jnp.asarray([1.0, 3.0, -5.0])).failures
      1
    """
    require_function(residuals, "least_squares: residuals", "parameters -> residuals")
    minimize = minimizer(steps, tolerance, "least_squares")

    def one(start: PyTree) -> tuple[PyTree, Array, Array, Array]:
        return minimize(lambda raw: residuals(natural(raw, positive=positive)), start)

    raw = unconstrained(starts, "least_squares: starts", positive=positive)
    first = jax.jit(jax.vmap(lambda start: _square(residuals(natural(start, positive=positive)))))(raw)
    least = float(jnp.min(jnp.where(jnp.isfinite(first), first, jnp.inf)))
    rounding = float(jnp.finfo(first.dtype).eps) * (least if np.isfinite(least) else 0.0)
    return collected(one, starts, positive=positive, rounding=rounding, owner="least_squares")


def collected(
    one: Callable[[PyTree], tuple[PyTree, Array, Array, Array]],
    starts: PyTree,
    *,
    positive: bool,
    rounding: float,
    owner: str,
) -> LeastSquares:
    """Run a minimization from each start, and say what came out.

    Args:
      one: from one start, in unconstrained parameters.
      starts: in the parameters' own units.
      positive: whether the parameters are logarithms inside.
      rounding: which differences of the residual sum of squares do not count.
      owner: who asks, for messages.

    Raises:
      ValueError: no start has finite residuals, or parameters that must be positive are not.
    """
    raw, rss, converged, count = jax.jit(jax.vmap(one))(unconstrained(starts, f"{owner}: starts", positive=positive))
    rss, finite = np.asarray(rss), np.isfinite(rss)
    if not finite.any():
        raise ValueError(
            f"{owner}: from none of {len(rss)} starts the residuals are finite; give others, shorter steps, or an "
            "adaptive solver."
        )
    best = int(np.argmin(np.where(finite, rss, np.inf)))
    every = natural(raw, positive=positive)
    return LeastSquares(
        params=jax.tree.map(lambda leaf: leaf[best], every),
        rss=float(rss[best]),
        every=every,
        every_rss=rss,
        converged=np.asarray(converged),
        reached=finite & (rss <= 1.001 * rss[best] + rounding),
        steps=np.asarray(count),
    )


def minimizer(steps: int, tolerance: float | None, owner: str) -> Minimizer:
    """Return the minimization from one start.

    Raises:
      ImportError: optimistix is not installed.
      ValueError: a number is out of its range.
    """
    try:
        import optimistix
    except ImportError as error:
        raise ImportError(f"{owner}: needs optimistix, which is not installed; pip install 'vifx[ode]'.") from error
    require_integer(steps, f"{owner}: steps")
    if tolerance is not None:
        require_number(tolerance, f"{owner}: tolerance", above=0)

    def minimize(residuals: Callable[[PyTree], PyTree], start: PyTree) -> tuple[PyTree, Array, Array, Array]:
        limit = tolerance
        if limit is None:
            limit = float(np.sqrt(max(jnp.finfo(leaf.dtype).eps for leaf in jax.tree.leaves(start))))
        solver = optimistix.LevenbergMarquardt(rtol=limit, atol=limit)
        # In units of where it starts, the method's first damping, 1, keeps the first steps from going astray.
        size = jnp.sqrt(_square(residuals(start)))
        unit = jnp.where((size > 0) & jnp.isfinite(size), size, jnp.ones_like(size))

        def scaled(raw: PyTree, _: Any) -> PyTree:
            return jax.tree.map(lambda leaf: leaf / unit, residuals(raw))

        found = optimistix.least_squares(scaled, solver, start, max_steps=steps, throw=False)
        done = found.result == optimistix.RESULTS.successful
        return found.value, _square(residuals(found.value)), done, jnp.asarray(found.stats["num_steps"])

    return minimize


def _square(residuals: PyTree) -> Array:
    return jnp.sum(jnp.stack([jnp.sum(leaf**2) for leaf in jax.tree.leaves(residuals)]))


def scattered(key: Key, center: PyTree, starts: int, *, spread: float) -> PyTree:
    """Draw starts around positive parameters: each number times ``exp(u)``, u uniform in ``[−spread, spread]``.

    Args:
      key: for the draws.
      center: positive numbers, arrays or a tree of them.
      starts: how many.
      spread: the largest logarithm of a factor, such as 0.6 for factors between 0.55 and 1.82.

    Returns:
      Leaves ``[starts, ...]``.

    Raises:
      ValueError: a number that is not positive, or one out of its range.
    """
    require_key(key)
    require_integer(starts, "scattered: starts")
    require_number(spread, "scattered: spread", least=0)
    leaves, structure = jax.tree.flatten(center)
    raw = jax.tree.leaves(unconstrained(leaves, "scattered: center", positive=True))
    draws = [
        jax.random.uniform(jax.random.fold_in(key, number), (starts, *leaf.shape), leaf.dtype, -spread, spread)
        for number, leaf in enumerate(raw)
    ]
    return jax.tree.unflatten(structure, [jnp.exp(leaf[None] + u) for leaf, u in zip(raw, draws, strict=True)])


def unconstrained(params: PyTree, owner: str, *, positive: bool) -> PyTree:
    """Return logarithms of positive parameters, and others as they are.

    Raises:
      ValueError: parameters that should be positive are not.
    """
    for leaf in jax.tree.leaves(params):
        require_values(leaf, owner)
    params = jax.tree.map(jnp.asarray, params)
    require(positive, bool, f"{owner}: positive", "a boolean", "give True or False")
    if not positive:
        return params
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not bool(jnp.all(leaf > 0)):
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{owner}: {name or 'a parameter'} must be positive, got {float(jnp.min(leaf)):g}.")
    return jax.tree.map(jnp.log, params)


def natural(raw: PyTree, *, positive: bool) -> PyTree:
    """Return parameters in their own units from unconstrained ones."""
    return jax.tree.map(jnp.exp, raw) if positive else raw
