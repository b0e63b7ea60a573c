"""How much a loss depends on the state at each time: exploding and vanishing gradients."""

from __future__ import annotations

__all__ = ["grad_norm"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_choice, require_function
from vifx.core.types import Array, PyTree
from vifx.dynamics.field import checked_field, examples_of
from vifx.dynamics.paths import integrate
from vifx.dynamics.steppers import METHODS
from vifx.dynamics.times import known_times, step_grid


def grad_norm(
    loss: Callable[[PyTree], Array],
    f: Callable[..., PyTree],
    x0: PyTree,
    times: Any,
    *given: Any,
    method: str = "rk4",
    substeps: int | None = None,
    step: float | None = None,
) -> Array:
    """Return ``‖∂L/∂x_t‖`` for the state at each time: directly and through all later states.

    Of one backward pass along the recurrence of `solve`. Where it grows by orders of magnitude towards the first
    time, gradients explode: clip them (``optax.clip_by_global_norm``), or cut the path by `multiple_shooting`. Where it
    vanishes, the loss does not see what happened before.

    Args:
      loss: of a path ``[examples, times, *event]``, a scalar.
      f: a function of ``(x, t, *given)``, as in `solve`.
      x0: the states at the first time.
      times: as in `solve`.
      *given: further inputs of f.
      method: ``"euler"``, ``"midpoint"``, ``"heun"`` or ``"rk4"``.
      substeps: as in `solve`.
      step: as in `solve`.

    Returns:
      Euclidean norms over the event, ``[examples, times]``, in units of the loss per unit of the state.

    Raises:
      ValueError: as in `solve`.
      TypeError: loss or f is not a function.

    Reference: Pascanu, Mikolov & Bengio (2013), On the difficulty of training recurrent neural networks,
    arXiv:1211.5063.
    """
    require_function(loss, "grad_norm: loss", "path -> scalar")
    require_function(f, "grad_norm: f", "(x, t, *given) -> dx/dt")
    require_choice(method, METHODS, "grad_norm: method")
    known = known_times(times, "grad_norm", examples=examples_of(x0, "grad_norm"))
    x0 = jax.tree.map(jnp.asarray, x0)
    grid = step_grid(known, jax.tree.leaves(x0)[0].dtype, substeps=substeps, step=step, owner="grad_norm")
    field = checked_field(lambda x, t: f(x, t, *given), x0, "grad_norm")

    def moved(start: PyTree, kicks: PyTree) -> Array:
        return loss(integrate(field, start, grid, METHODS[method], checkpoint=False, kicks=kicks))

    kicks = jax.tree.map(lambda leaf: jnp.zeros((len(grid.starts), *leaf.shape), leaf.dtype), x0)
    at_start, later = jax.grad(moved, argnums=(0, 1))(x0, kicks)

    def squares(first: Array, kept: Array) -> Array:
        whole = jnp.concatenate([first[None], kept[grid.ends]])
        return jnp.sum(whole.reshape(*whole.shape[:2], -1) ** 2, axis=2)

    totals = jax.tree.leaves(jax.tree.map(squares, at_start, later))
    return jnp.sqrt(jnp.sum(jnp.stack(totals), axis=0)).T
