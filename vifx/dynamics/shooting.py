"""Residuals of single and of multiple shooting: how far a path is from what was observed."""

from __future__ import annotations

__all__ = ["Shooting"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.core.types import Array, PyTree
from vifx.dynamics.field import checked_field
from vifx.dynamics.least_squares import natural
from vifx.dynamics.paths import integrate, solve
from vifx.dynamics.steppers import METHODS
from vifx.dynamics.times import segment_grid


@dataclass(frozen=True, eq=False)
class Shooting:
    """A differential equation and what was observed of its paths.

    Parameters are unconstrained ones where a method takes them; see `fit_ode`.

    Attributes:
      f: of ``(x, t, params)``.
      times: ``[times]`` or ``[examples, times]``.
      values: ``[examples, times, *observed]``.
      seen: booleans like `values`.
      x0: the first states, or a function of the parameters.
      observe: what is seen of a path.
      positive: whether parameters are positive.
      how: the options of `solve`.
    """

    f: Callable[..., Array]
    times: NDArray[Any]
    values: Array
    seen: Array
    x0: Any
    observe: Callable[[Array], Array]
    positive: bool
    how: Mapping[str, Any]

    def everywhere(self, raw: PyTree, rows: int) -> PyTree:
        """Return the parameters in their own units, once for each row."""
        params = natural(raw, positive=self.positive)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (rows, *leaf.shape)), params)

    def first(self, raw: PyTree) -> Array:
        """Return the states at the first time, ``[examples, *event]``."""
        found = self.x0(self.everywhere(raw, len(self.values))) if callable(self.x0) else self.x0
        return jnp.asarray(found, self.values.dtype)

    def misfit(self, path: Array) -> Array:
        """Return how far a path is from the observed values, zero where nothing was seen.

        The first time is left out where its state is given.
        """
        apart = jnp.where(self.seen, self.observe(path) - self.values, jnp.zeros_like(self.values))
        return apart if callable(self.x0) else apart[:, 1:]

    def single(self, raw: PyTree) -> Array:
        """Return the residuals of the one path from the first states."""
        params = self.everywhere(raw, len(self.values))
        return self.misfit(solve(self.f, self.first(raw), self.times, params, **self.how))

    def multiple(self, raw: PyTree, later: Array, weight: Array) -> tuple[Array, Array]:
        """Return the residuals of the knots, and the weighted gaps between the intervals.

        Args:
          raw: the parameters.
          later: the knots but the first, ``[examples, times − 1, *event]``.
          weight: of the gaps.
        """
        path = jnp.concatenate([self.first(raw)[:, None], later], axis=1)
        return self.misfit(path), weight * (self.ends(raw, path[:, :-1]) - later)

    def ends(self, raw: PyTree, begin: Array) -> Array:
        """Return the states at the ends of intervals from those at their beginnings, shaped like these."""
        examples, intervals, *event = begin.shape
        rows, how = examples * intervals, dict(self.how)
        flat, params = begin.reshape(rows, *event), self.everywhere(raw, rows)
        if "solver" in how:
            own = np.broadcast_to(self.times, (examples, intervals + 1))
            pairs = np.stack([own[:, :-1], own[:, 1:]], axis=2).reshape(rows, 2)
            return solve(self.f, flat, pairs, params, **how)[:, -1].reshape(begin.shape)
        method = METHODS[how.pop("method")]
        grid = segment_grid(self.times, begin.dtype, examples=examples, owner="fit_ode", **how)
        field = checked_field(lambda x, t: self.f(x, t, params), flat, "fit_ode")
        return integrate(field, flat, grid, method, checkpoint=False)[:, -1].reshape(begin.shape)
