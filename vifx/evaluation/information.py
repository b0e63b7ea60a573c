"""Bounds on mutual information from a square matrix of scores, and that of an encoder, whose conditional is known.

A matrix ``[n, n]`` has in row i and column j the score of the i-th value z with the j-th x: its diagonal are the
pairs that were drawn together, and all other entries are pairs of independent ones. Everything is in nats.
"""

from __future__ import annotations

__all__ = [
    "Enclosure",
    "donsker_varadhan",
    "encoder_information",
    "info_nce",
    "information_bounds",
    "nwj",
    "posterior_log_densities",
]

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from numpy.typing import ArrayLike, NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.evaluation.batches import Rows, in_batches
from vifx.evaluation.latents import encode


class Enclosure(NamedTuple):
    """What a number is at least and at most, each an average over the same draws.

    Attributes:
      at_least: the lower bound.
      at_most: the upper bound.
    """

    at_least: float
    at_most: float


def info_nce(scores: ArrayLike) -> Array:
    """Return the InfoNCE bound: below the mutual information on average, for any scores, and never above ``log n``.

    ``E_i [s_ii − log (1/n) Σ_j exp s_ij]``: tight for ``s_ij = log p(z_i | x_j)`` (up to a function of z_i) and n
    well above ``exp I``. It has little variance; where the information is near or above ``log n`` it says ``log n``
    and no more.

    Args:
      scores: ``[n, n]``, see the module.

    Raises:
      ValueError: if they are not a square matrix of two rows or more.

    Reference: van den Oord, Li and Vinyals, Representation learning with contrastive predictive coding, 2018; Poole
    et al., On variational bounds of mutual information, 2019, section 2.3.
    """
    scores = _square(scores)
    return jnp.mean(jnp.diagonal(scores) - logsumexp(scores, axis=1)) + math.log(len(scores))


def nwj(scores: ArrayLike) -> Array:
    """Return the bound of Nguyen, Wainwright and Jordan: below the mutual information on average, for any scores.

    ``E_i s_ii − e⁻¹ E_{i≠j} exp s_ij``: tight for ``s_ij = 1 + log p(z_i | x_j) / p(z_i)``. It is unbiased for its
    bound at every n, and its variance grows like the exponential of the information.

    Args:
      scores: ``[n, n]``, see the module.

    Raises:
      ValueError: if they are not a square matrix of two rows or more.

    Reference: Nguyen, Wainwright and Jordan, Estimating divergence functionals and the likelihood ratio, 2010.
    """
    scores = _square(scores)
    return jnp.mean(jnp.diagonal(scores)) - jnp.exp(_log_mean_apart(scores) - 1.0)


def donsker_varadhan(scores: ArrayLike) -> Array:
    """Return the estimate of Donsker and Varadhan, which MINE maximizes: no bound at a finite n.

    ``E_i s_ii − log E_{i≠j} exp s_ij``. With expectations in place of means it would be a lower bound, tight for
    ``s_ij = log p(z_i | x_j) / p(z_i)`` up to a constant, and above `nwj` for the same scores. The logarithm of a
    mean is below that of its expectation on average, so that the estimate lies above that bound, and may lie above
    the information itself.

    Args:
      scores: ``[n, n]``, see the module.

    Raises:
      ValueError: if they are not a square matrix of two rows or more.

    Reference: Donsker and Varadhan, 1983; Belghazi et al., Mutual information neural estimation, 2018.
    """
    scores = _square(scores)
    return jnp.mean(jnp.diagonal(scores)) - _log_mean_apart(scores)


def information_bounds(log_densities: ArrayLike) -> Enclosure:
    """Bound the mutual information of a known conditional, ``log p(z_i | x_j)`` in nats, from below and from above.

    Below stands `info_nce`, whose denominator has the pair itself; above, the same with the others alone, ``E_i [log
    p(z_i | x_i) − log (1/(n−1)) Σ_{j≠i} p(z_i | x_j)]``: the mean of the others is an unbiased estimate of p(z_i),
    and minus the logarithm of it is too large on average (Jensen). No critic is needed.

    Args:
      log_densities: ``[n, n]``, see the module.

    Raises:
      ValueError: if they are not a square matrix of two rows or more.

    Reference: Poole et al., On variational bounds of mutual information, 2019, section 2.4.
    """
    log_densities = _square(log_densities)
    n = len(log_densities)
    others = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, log_densities)
    above = jnp.mean(jnp.diagonal(log_densities) - logsumexp(others, axis=1)) + math.log(n - 1)
    return Enclosure(float(info_nce(log_densities)), float(above))


def posterior_log_densities(
    key: Key,
    inference: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    variable: str = "z",
    batch_size: int = 100,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Draw one latent for each example, and return the log-density of each under the posterior of every example.

    Args:
      key: gives one key per example.
      inference: evidence and encoder.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: n examples, of which n² densities are computed.
      variable: the latent, whose parents are evidence.
      batch_size: examples at a time.

    Returns:
      The draws ``[n, *event]``, and ``log p(z_i | x_j)``, ``[n, n]``, in nats.

    Raises:
      ValueError: if `inference` has no such latent, it has another latent as a parent, or its conditional has no
      density.
    """
    codes = encode(key, inference, params, state, split, variable=variable, batch_size=batch_size)
    unobserved = [name for name in inference.factor_of(variable).given if name not in inference.observed]
    if unobserved:
        raise ValueError(
            f"variable must have evidence alone as its parents, got {variable!r} given {unobserved}: its density given "
            "an example would be an integral; name the latent that is encoded first."
        )
    function = partial(_densities, inference, variable, jnp.asarray(codes.sample))
    columns = in_batches(key, function, params, state, split, batch_size=batch_size)
    return codes.sample, columns.T


@partial(jax.jit, static_argnums=(0, 1))
def _densities(inference: Joint, variable: str, values: Array, rows: Rows) -> Array:
    """Return the log-densities of all values under the posteriors of some examples, ``[examples, values]``."""
    conditional = inference.sample(rows.key, rows.params, rows.state, rows.batch).conditionals[variable]
    if not hasattr(conditional, "log_prob"):
        raise ValueError(f"{inference.factor_of(variable)} must have a density; it is a deterministic map.")
    examples = len(rows.indices)

    def of(value: Array) -> Array:
        return conditional.log_prob(jnp.broadcast_to(value, (examples, *value.shape)))

    return jax.lax.map(of, values, batch_size=64).T


def encoder_information(
    key: Key,
    inference: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    variable: str = "z",
    batch_size: int = 100,
) -> Enclosure:
    """Bound the mutual information of the data and a latent under the encoder, in nats, by `information_bounds`.

    Args:
      key: gives one key per example.
      inference: evidence and encoder.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: n examples; the lower bound is at most ``log n``.
      variable: the latent, whose parents are evidence.
      batch_size: examples at a time.

    Raises:
      ValueError: as `posterior_log_densities`.
    """
    _, log_densities = posterior_log_densities(
        key, inference, params, state, split, variable=variable, batch_size=batch_size
    )
    return information_bounds(log_densities)


def _square(scores: ArrayLike) -> Array:
    matrix = jnp.asarray(scores)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"scores must be a matrix [n, n] with n ≥ 2, got shape {matrix.shape}.")
    return matrix


def _log_mean_apart(scores: Array) -> Array:
    """Return the logarithm of the mean of exp over all entries off the diagonal."""
    n = len(scores)
    apart = jnp.where(jnp.eye(n, dtype=bool), -jnp.inf, scores)
    return logsumexp(apart) - math.log(n * (n - 1))
