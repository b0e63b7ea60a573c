"""Which noise each example is paired with: any, or that of the cheapest transport within the minibatch."""

from __future__ import annotations

__all__ = ["Pairing", "optimal_order", "optimal_within"]

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vifx.checks import require_array
from vifx.core.types import Array

Pairing: TypeAlias = Literal["independent", "optimal"]
"""Each example with noise of its own, or minibatch optimal transport between examples and noise."""


def optimal_order(cost: Array) -> Array:
    """Return the assignment of the least total cost: row i has column ``order[i]``, integers ``[rows]``.

    It is exact: the shortest augmenting paths of SciPy, in double precision, on the host. It may be compiled, mapped
    and scanned; on 2 CPU cores 256 rows take 3 ms and 512 take 20, a quarter of what Optax's solver takes.

    Args:
      cost: ``[rows, rows]``; infinite where a pair is not allowed.

    Raises:
      ValueError: `cost` is not square.

    Example:
      >>> import jax.numpy as jnp
      >>> optimal_order(jnp.array([[4.0, 1.0], [1.0, 2.0]])).tolist()
      [1, 0]
    """
    cost = jnp.asarray(require_array(cost, "optimal_order: cost"))
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
        raise ValueError(f"optimal_order: cost must be [rows, rows], got {list(cost.shape)}")
    shape = jax.ShapeDtypeStruct(cost.shape[:1], jnp.int32)
    return jax.pure_callback(_solved, shape, cost, vmap_method="sequential")


def optimal_within(x: Array, noise: Array, same: Sequence[Array]) -> Array:
    """Return `noise` in the order that has the least ``Σ_i ‖x_i − ε_i‖²`` among the orders that are allowed.

    Rows exchange their noise only where all of `same` agree, so that the noise given these is what it was: it keeps the
    base's law, and both marginals of the pairs are exactly those of independent ones.

    Args:
      x: ``[rows, *event]``.
      noise: of the same shape.
      same: conditions and weights of the rows, ``[rows, ...]``.

    Raises:
      ValueError: there is one row.
    """
    rows = x.shape[0]
    if rows < 2:
        raise ValueError(
            "flow_matching: pairing='optimal' needs a batch of two examples or more, whose noise it exchanges, got "
            f"{rows}; take larger batches, or pairing='independent'"
        )
    a, b = x.reshape(rows, -1), noise.reshape(rows, -1)
    # The squares are the same in every order; with them the solver's paths are a third as long.
    squares = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
    cost = squares - 2 * jnp.matmul(a, b.T, precision="highest")
    for each in same:
        flat = each.reshape(rows, -1)
        cost = jnp.where(jnp.all(flat[:, None] == flat[None], axis=-1), cost, jnp.inf)
    return noise[optimal_order(jax.lax.stop_gradient(cost))]


def _solved(cost: Any) -> NDArray[np.int32]:
    cost = np.asarray(cost, np.float64)
    # Where data are not finite, there is nothing to solve, and the loss is not finite either.
    solvable = np.isfinite(np.diagonal(cost)).all() and not (np.isnan(cost) | np.isneginf(cost)).any()
    if not solvable:
        return np.arange(len(cost), dtype=np.int32)
    return linear_sum_assignment(cost)[1].astype(np.int32)
