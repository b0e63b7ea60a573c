"""What the latents hold: active units, divergence per latent, aggregated posterior, codes for figures."""

from __future__ import annotations

__all__ = [
    "Codes",
    "active_units",
    "aggregated_posterior",
    "encode",
    "kl_per_latent",
    "manifold_codes",
    "normal_quantiles",
    "principal_components",
    "traversal_codes",
]

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer, require_number
from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.evaluation.batches import example_keys, in_batches

DRAWS = 100
"""How many draws the moments of a posterior without a closed form are taken over."""


class Codes(NamedTuple):
    """The posterior of one latent at each example, each ``[examples, latent]``.

    Attributes:
      mean: ``E[z|x]``; for a deterministic encoder the code itself, for a flow the mean of 100 draws.
      variance: ``Var[z|x]``; zero for a deterministic encoder, that of the draws for a flow.
      sample: one draw of ``z | x``.
    """

    mean: NDArray[Any]
    variance: NDArray[Any]
    sample: NDArray[Any]


def encode(
    key: Key,
    inference: Joint,
    params: Params,
    state: State,
    split: Mapping[str, ArrayLike],
    *,
    variable: str = "z",
    batch_size: int = 500,
) -> Codes:
    """Return mean, variance and one sample of ``variable | parents`` for every example of a split.

    Further latents that `variable` depends on are sampled once per example.

    Args:
      key: gives one key per example.
      inference: evidence and encoder.
      params: one entry per network.
      state: one entry per network; networks run in evaluation mode.
      split: arrays with one common leading axis.
      variable: the latent.
      batch_size: examples at a time.

    Raises:
      ValueError: if `inference` has no such latent, or the entries of `split` disagree in length.
    """
    if variable in inference.observed or variable not in inference.variables:
        latents = [name for name in inference.variables if name not in inference.observed]
        raise ValueError(f"variable must be a latent of {inference}, one of {latents}, got {variable!r}.")
    return Codes(*in_batches(key, partial(_codes, inference, variable), params, state, split, batch_size=batch_size))


@partial(jax.jit, static_argnums=(0, 1))
def _codes(
    inference: Joint,
    variable: str,
    key: Key,
    params: Params,
    state: State,
    batch: Mapping[str, Array],
    indices: Array,
) -> tuple[Array, Array, Array]:
    def one(example_key: Key, example: Mapping[str, Array]) -> tuple[Array, Array, Array]:
        single = jax.tree.map(lambda leaf: leaf[None], example)
        drawn = inference.sample(example_key, params, state, single)
        value, conditional = drawn.values[variable], drawn.conditionals[variable]
        if hasattr(conditional, "log_prob"):
            if hasattr(conditional, "mean") and hasattr(conditional, "variance"):
                mean, variance = conditional.mean, conditional.variance
            else:
                draws = conditional.sample(jax.random.fold_in(example_key, 0), (DRAWS,))
                mean, variance = jnp.mean(draws, axis=0), jnp.var(draws, axis=0, ddof=1)
        else:
            mean, variance = value, jnp.zeros_like(value)
        return mean[0], variance[0], value[0]

    return jax.vmap(one)(example_keys(key, indices), batch)


def active_units(mean: ArrayLike) -> NDArray[Any]:
    """Return the activity ``Var_x E[z|x]`` of each latent, ``[latent]``, from means ``[examples, latent]``.

    A latent counts as active above 0.01 (Burda et al. 2016, section 5.2): ``(active_units(mean) >
    0.01).sum()``.
    """
    return np.var(_matrix(mean, "mean"), axis=0, ddof=1)


def kl_per_latent(mean: ArrayLike, variance: ArrayLike) -> NDArray[Any]:
    """Return ``E_x KL(N(μ, σ²) ‖ N(0, 1))`` of each latent in nats, ``[latent]``.

    ``½ (μ² + σ² − log σ² − 1)``, for a diagonal Gaussian encoder and a standard normal prior alone.

    Args:
      mean: ``[examples, latent]``.
      variance: ``[examples, latent]``, positive.
    """
    mean, variance = _matrix(mean, "mean"), _matrix(variance, "variance")
    return np.mean(0.5 * (mean**2 + variance - np.log(variance) - 1), axis=0)


def aggregated_posterior(mean: ArrayLike, variance: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return mean ``[latent]`` and covariance ``[latent, latent]`` of ``p(z) = E_x p(z|x)``.

    ``Cov z = Cov_x E[z|x] + E_x Cov[z|x]`` with diagonal ``Cov[z|x]``: under a standard normal prior a
    good encoder has mean 0 and covariance near the identity.

    Args:
      mean: ``[examples, latent]``.
      variance: ``[examples, latent]``.
    """
    mean, variance = _matrix(mean, "mean"), _matrix(variance, "variance")
    centred = mean - mean.mean(axis=0)
    return mean.mean(axis=0), centred.T @ centred / len(mean) + np.diag(variance.mean(axis=0))


def principal_components(codes: ArrayLike, *, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Project codes ``[n, latent]`` on their first principal components.

    Returns:
      The projections ``[n, count]`` and each component's share of the variance ``[count]``. Signs
      are such that each component's largest loading is positive, so that equal codes give equal
      figures.

    Raises:
      ValueError: if `count` is not from 1 to the number of latents.
    """
    codes = _matrix(codes, "codes")
    if not 1 <= count <= codes.shape[1]:
        raise ValueError(f"count must be from 1 to the {codes.shape[1]} latents, got {count}.")
    centred = codes - codes.mean(axis=0)
    spectrum, vectors = np.linalg.eigh(centred.T @ centred)
    spectrum, vectors = spectrum[::-1][:count], vectors[:, ::-1][:, :count]
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(count)])
    total = np.sum(centred**2)
    return centred @ vectors, spectrum / total if total > 0 else np.zeros(count)


def normal_quantiles(count: int, *, tail: float = 0.02) -> NDArray[Any]:
    """Return `count` standard normal quantiles at equally spaced levels from `tail` to ``1 - tail``.

    Raises:
      ValueError: if `count` is below 2 or `tail` not between 0 and ½.

    >>> normal_quantiles(3).round(3).tolist()
    [-2.054, 0.0, 2.054]
    """
    from scipy.special import ndtri

    require_integer(count, "count", least=2)
    require_number(tail, "tail", above=0, below=0.5)
    return ndtri(np.linspace(tail, 1 - tail, count))


def traversal_codes(origin: ArrayLike, dimensions: Sequence[int], values: ArrayLike) -> NDArray[Any]:
    """Return codes ``[rows, columns, latent]``: row `r` moves latent ``dimensions[r]`` of `origin` alone.

    Args:
      origin: the code to start from, ``[latent]``.
      dimensions: the latent that each row moves.
      values: the value that each column puts it to.

    Raises:
      ValueError: if `origin` has no such latent.
    """
    origin, values = np.asarray(origin), np.asarray(values)
    bad = [d for d in dimensions if not 0 <= d < len(origin)]
    if bad:
        raise ValueError(f"dimensions must index the {len(origin)} latents of origin, got {bad[0]}.")
    codes = np.tile(origin, (len(dimensions), len(values), 1))
    for row, dimension in enumerate(dimensions):
        codes[row, :, dimension] = values
    return codes


def manifold_codes(values: ArrayLike) -> NDArray[Any]:
    """Return a grid of codes ``[side, side, 2]`` with ``[r, c] = (values[c], values[r])``."""
    values = np.asarray(values)
    return np.stack(np.meshgrid(values, values), axis=-1)


def _matrix(values: ArrayLike, name: str) -> NDArray[Any]:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) == 0:
        raise ValueError(f"{name} must be [examples, latent] with at least one example, got shape {matrix.shape}.")
    return matrix
