"""Gaussian posteriors of the parameters of a model, that start from Laplace's approximation."""

from __future__ import annotations

__all__ = ["gaussian_around", "laplace"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_function
from vifx.core.nets import is_network
from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import MultivariateNormal
from vifx.dynamics.field import require_values
from vifx.dynamics.least_squares import minimizer


def laplace(residuals: Callable[[Array], PyTree], starts: Array, *, steps: int = 200) -> tuple[Array, Array]:
    """Return the mode and the scale of the density ``exp(−½ Σ residuals(θ)²)``, as a Gaussian sees it.

    That of a posterior, if the residuals are those of the observations and of the prior, each divided by its scale. The
    covariance is ``(Jᵀ J)⁻¹`` at the mode, J the Jacobian of the residuals (Gauss and Newton). It may be compiled, and
    mapped over data sets by `jax.vmap`.

    Args:
      residuals: of one vector ``[d]``; an array or a tree of arrays.
      starts: ``[starts, d]``; the mode is the best that is found from any of them.
      steps: the most that a start may take.

    Returns:
      The mode ``[d]``, and L, lower triangular, ``[d, d]``, with ``L Lᵀ`` the covariance.

    Raises:
      ImportError: optimistix is not installed; it comes with ``pip install 'vifx[ode]'``.
      ValueError: a number is out of its range.
      TypeError: residuals is not a function.

    Reference: Tierney & Kadane (1986), Accurate approximations for posterior moments and marginal densities.
    """
    require_function(residuals, "laplace: residuals", "vector -> residuals")
    require_values(starts, "laplace: starts")
    minimize = minimizer(steps, None, "laplace")
    ends, rss, _, _ = jax.vmap(lambda start: minimize(residuals, start))(starts)
    mode = ends[jnp.argmin(jnp.where(jnp.isfinite(rss), rss, jnp.inf))]
    # As one column of numbers; its triangular factor needs no product JᵀJ, which would square the condition.
    slopes = jnp.concatenate(
        [leaf.reshape(-1, mode.size) for leaf in jax.tree.leaves(jax.jacfwd(residuals)(mode))], axis=0
    )
    upper = jnp.linalg.qr(slopes, mode="r")
    inverse = jax.scipy.linalg.solve_triangular(upper, jnp.eye(mode.size, dtype=mode.dtype))
    lower = jnp.linalg.qr(inverse.T, mode="r").T
    return mode, lower * jnp.where(jnp.diagonal(lower) < 0, -1, 1).astype(mode.dtype)[None]


def gaussian_around(start: Callable[..., tuple[Array, Array]]) -> Net:
    """Return a Gaussian with full covariance as a network whose output does not depend on its inputs.

    ``N(m + S a, (S B)(S B)ᵀ)`` for every row: m and S, lower triangular, are where it starts and are part of the state;
    a and B, lower triangular with a positive diagonal, are the parameters, 0 and the identity at first. In these
    coordinates the posterior is about standard normal, so that one step size fits all parameters, however different
    their scales and strong their correlations.

    As ``factor("theta | x", gaussian_around(start), name="posterior")`` it is the posterior of one data set, x with one
    example.

    Args:
      start: ``(key, *inputs) -> (m, S)``, ``[d]`` and ``[d, d]``, such as `laplace` finds.

    Raises:
      TypeError: start is not a function.
    """
    if is_network(start):
        raise TypeError("gaussian_around: start must be a function (key, *inputs) -> (loc, scale_tril), got a network.")
    require_function(start, "gaussian_around: start", "(key, *inputs) -> (loc, scale_tril)")

    def init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        loc, scale_tril = start(key, *inputs)
        if loc.ndim != 1 or scale_tril.shape != (loc.size, loc.size):
            raise ValueError(
                f"gaussian_around: start must return [d] and [d, d], got {list(loc.shape)} and "
                f"{list(scale_tril.shape)}."
            )
        params = {
            "shift": jnp.zeros_like(loc),
            "log_diagonal": jnp.zeros_like(loc),
            "lower": jnp.zeros_like(scale_tril),
        }
        return params, {"loc": loc, "scale_tril": scale_tril}

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[MultivariateNormal, PyTree]:
        del key, train
        factor = jnp.tril(params["lower"], -1) + jnp.diag(jnp.exp(params["log_diagonal"]))
        loc = state["loc"] + state["scale_tril"] @ params["shift"]
        rows = jnp.shape(jax.tree.leaves(inputs)[0])[0]
        return MultivariateNormal(jnp.broadcast_to(loc, (rows, loc.size)), state["scale_tril"] @ factor), state

    return Net(init, apply)
