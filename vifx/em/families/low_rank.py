"""What factor analysis and probabilistic PCA share: covariances of low rank plus a diagonal."""

from __future__ import annotations

__all__ = ["Maximizer", "Moments", "expected_noise", "held_of", "low_rank", "moments", "shrunk"]

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike

from vifx.checks import require_integer, require_number
from vifx.core.types import Array, Key, PyTree
from vifx.em.families.covariances import ROUNDING
from vifx.em.families.floors import at_floor
from vifx.em.families.gaussian import gaussian
from vifx.em.families.held import Held
from vifx.em.families.k_means_plus_plus import nearest_seeds
from vifx.em.families.parent_states import count
from vifx.em.families.priors import InverseGamma
from vifx.em.families.quadratic import vectors
from vifx.em.families.seed_statistics import needs_values, seeded
from vifx.em.families.whitening import Whitening, whiten, whitening
from vifx.em.families.with_held import with_held
from vifx.em.family import Family

Maximizer: TypeAlias = Callable[[Array, Array, Array, Array, Array], tuple[Array, Array]]
"""``(covariances S [states, d, d], counts [states], least noise [d], old loadings, old scale) -> (loadings, scale)``.

The least noise is the floor, or the rounding of the data: the same at every M step, all of which so are maxima over one
set. The loadings are ``[states, d, latent]``."""


class Moments(NamedTuple):
    """Weighted moments of the data in its own units, one for each state.

    Attributes:
      mean: ``[states, d]``.
      covariance: ``[states, d, d]``.
      counts: how many examples, ``[states]``.
      seen: which states anything belongs to, ``[states]``.
    """

    mean: Array
    covariance: Array
    counts: Array
    seen: Array


def moments(state: Whitening, statistics: Array) -> Moments:
    """Return the moments of sums of ``[x_i x_j (i ≤ j), x, 1]`` of whitened data.

    Args:
      statistics: ``[states, features]``.
    """
    size = state.shift.shape[0]
    pairs = size * (size + 1) // 2
    rows, columns = np.triu_indices(size)
    unpacked = np.zeros((size, size), int)
    unpacked[rows, columns] = unpacked[columns, rows] = np.arange(pairs)
    counts = statistics[:, pairs + size]
    seen = counts > 10 * jnp.finfo(counts.dtype).eps
    each = statistics / jnp.where(seen, counts, 1)[:, None]
    white = each[:, pairs : pairs + size]
    inverse = solve_triangular(state.matrix, jnp.eye(size, dtype=white.dtype), lower=True)
    centered = each[:, :pairs][:, unpacked] - white[:, :, None] * white[:, None, :]
    covariance = jnp.einsum("ij,...jk,lk->...il", inverse, centered, inverse)
    mean = jnp.broadcast_to(state.shift, white.shape) + white @ inverse.T
    return Moments(mean, 0.5 * (covariance + jnp.swapaxes(covariance, -1, -2)), counts, seen)


def low_rank(
    name: str,
    states: int | Sequence[int],
    latent: int,
    floor: float,
    maximizer: Maximizer,
    *,
    isotropic: bool,
    prior: InverseGamma | None,
    held: Held,
) -> Family:
    """``x = W_s u + μ_s + ε`` with u ~ N(0, I): ``N(x; μ_s, W_s W_sᵀ + Ψ_s)``, Ψ diagonal.

    Args:
      states: the number of states of the parent, or of each parent.
      maximizer: the M step of W and Ψ; it may depend on the old ones.
      isotropic: whether Ψ is σ²I; `scale` is then ``[states]`` and not ``[states, d]``.
      prior: of each variance of the noise, which the maximizer knows.
      held: the parameters that are known, likewise.

    Raises:
      ValueError: a number is out of range.
    """
    sizes = count(name, states)
    _check_numbers(name, latent, floor)
    # Its density is a Gaussian's with the Cholesky factor of W Wᵀ + Ψ: features, products and sums are the same.
    dense = gaussian(states, covariance="full", floor=0.0)

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        x = _data(name, value, latent)
        state = whitening(x, "full")
        responsibilities = nearest_seeds(key, whiten(state, x), math.prod(sizes))
        statistics = seeded(lambda x, r: dense.statistics((), dense.features(state, x), r), x, responsibilities)
        start = _start(state, x, statistics, floor, isotropic, latent)
        held.check(start)
        return maximize(held.all(start), state, statistics), state

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        del key, train
        return dense.apply(_dense_params(params), state, *parents)

    def features(state: Whitening, value: Array) -> PyTree:
        return dense.features(state, vectors(name, value))

    def prepare(params: PyTree, state: PyTree) -> PyTree:
        return dense.prepare(_dense_params(params), state)

    def maximize(params: PyTree, state: Whitening, statistics: tuple[Array, ...]) -> PyTree:
        return _best(maximizer, held, params, moments(state, statistics[0]), _least(state, floor))

    family = Family(
        init=init,
        apply=apply,
        features=features,
        prepare=prepare,
        log_probs=dense.log_probs,
        statistics=dense.statistics,
        maximize=maximize,
        log_prior=partial(_log_prior, prior),
        degrees=lambda params: sum(_numbers(name, leaf) for name, leaf in params.items()),
        magnitude=dense.magnitude,
        remarks=partial(_remarks, floor, isotropic),
        estimates=_estimates,
    )
    return with_held(family, held, _numbers)


def _best(maximizer: Maximizer, held: Held, params: PyTree, found: Moments, least: Array) -> PyTree:
    """Return the best parameters for moments of the data; a state that nothing belongs to keeps its own."""
    mean, covariance, counts, seen = found
    if "mean" in held:
        apart = mean - params["mean"]
        covariance = covariance + apart[:, :, None] * apart[:, None, :]
    loadings, scale = maximizer(covariance, counts, least, params["loadings"], params["scale"])
    new = {"mean": mean, "loadings": loadings, "scale": scale}
    return {
        k: params[k] if k in held else jnp.where(seen.reshape(-1, *(1,) * (v.ndim - 1)), v, params[k])
        for k, v in new.items()
    }


def _log_prior(prior: InverseGamma | None, params: PyTree, state: PyTree) -> Array:
    del state
    if prior is None:
        return jnp.zeros((), params["mean"].dtype)
    variance = params["scale"] ** 2
    return -jnp.sum((prior.shape + 1) * jnp.log(variance) + prior.scale / variance)


def held_of(name: str, states: int | Sequence[int], fixed: Mapping[str, ArrayLike] | None, *, isotropic: bool) -> Held:
    """Return the parameters that are known."""
    number = math.prod(count(name, states))
    shapes = {
        "mean": (number, None),
        "loadings": (number, None, None),
        "scale": (number,) if isotropic else (number, None),
    }
    return Held(name, fixed, shapes)


def expected_noise(covariance: Array, loadings: Array, scale: Array) -> Array:
    """Return the expected squares of the noise, ``diag(S − 2 W β S + W E Wᵀ)``, ``[states, d]``.

    Args:
      covariance: S, ``[states, d, d]``.
      loadings: W, ``[states, d, latent]``.
      scale: of the noise before, ``[states, d]``.
    """
    scaled = loadings / scale[:, :, None] ** 2
    size = loadings.shape[-1]
    identity = jnp.broadcast_to(jnp.eye(size, dtype=loadings.dtype), (loadings.shape[0], size, size))
    spread = jnp.linalg.inv(identity + jnp.einsum("sil,sim->slm", loadings, scaled))  # I − β W, by Woodbury
    beta = jnp.einsum("slm,sim->sli", spread, scaled)
    crossed = jnp.einsum("sli,sij->slj", beta, covariance)
    second = spread + jnp.einsum("slj,smj->slm", crossed, beta)
    explained = jnp.einsum("sil,sli->si", loadings, crossed)
    squares = jnp.einsum("sil,slm,sim->si", loadings, second, loadings)
    return jnp.diagonal(covariance, axis1=1, axis2=2) - 2 * explained + squares


def shrunk(prior: InverseGamma | None, noise: Array, counts: Array) -> Array:
    """Return the mode of the posterior of variances whose residuals have this mean square.

    Args:
      noise: ``[states, ...]``.
      counts: how many residuals each is of, ``[states, ...]``.
    """
    if prior is None:
        return noise
    return (counts * noise + 2 * prior.scale) / (counts + 2 * (prior.shape + 1))


def _numbers(name: str, leaf: Array) -> int:
    """Return how many free numbers a parameter has: W and W R are one model for every rotation R."""
    latent = leaf.shape[-1]
    return leaf.size - (len(leaf) * latent * (latent - 1) // 2 if name == "loadings" else 0)


def _estimates(params: PyTree) -> dict[str, np.ndarray]:
    mean, loadings, scale = (np.asarray(params[name], np.float64) for name in ("mean", "loadings", "scale"))
    noise = np.broadcast_to(scale[:, None] if scale.ndim == 1 else scale, mean.shape) ** 2
    low = loadings @ np.swapaxes(loadings, -1, -2)
    covariances = low + noise[:, :, None] * np.eye(mean.shape[-1])
    return {"means": mean, "loadings": loadings, "noise_variances": scale**2, "covariances": covariances}


def _remarks(floor: float, isotropic: bool, params: PyTree, value: Array) -> tuple[str, ...]:
    noise = np.asarray(params["scale"], np.float64) ** 2
    return at_floor(noise[:, None] if isotropic else noise, floor, np.asarray(value))


def _start(
    state: Whitening, x: Array, statistics: tuple[Array, ...], floor: float, isotropic: bool, latent: int
) -> PyTree:
    """Return parameters without factors: the noise of a state is its variance, of an empty one the data's."""
    own = moments(state, statistics[0])
    every, least = jnp.mean((x - state.shift[None]) ** 2, axis=0), _least(state, floor)
    variance = jnp.diagonal(own.covariance, axis1=1, axis2=2)
    variance = jnp.where(own.seen[:, None], variance, jnp.broadcast_to(every, variance.shape))
    variance = jnp.maximum(variance, jnp.broadcast_to(least, variance.shape))
    return {
        "mean": jnp.broadcast_to(state.shift, variance.shape),
        "loadings": jnp.zeros((*variance.shape, latent), x.dtype),
        "scale": jnp.sqrt(jnp.mean(variance, axis=1) if isotropic else variance),
    }


def _least(state: Whitening, floor: float) -> Array:
    """Return the least variance of the noise, ``[d]``."""
    size = state.shift.shape[0]
    inverse = solve_triangular(state.matrix, jnp.eye(size, dtype=state.matrix.dtype), lower=True)
    rounding = ROUNDING * float(jnp.finfo(inverse.dtype).eps)
    return jnp.maximum(rounding * jnp.sum(inverse**2, axis=1), max(floor, 1e-30))


def _check_numbers(name: str, latent: int, floor: float) -> None:
    require_integer(latent, f"{name}: latent")
    require_number(floor, f"{name}: floor", least=0)


def _data(name: str, value: Array | None, latent: int) -> Array:
    x = vectors(name, needs_values(name, value))
    if latent >= x.shape[1]:
        raise ValueError(
            f"{name}: latent={latent} must be less than the {x.shape[1]} features of the data; with as many, use "
            "em.gaussian(covariance='full')."
        )
    return x


def _dense_params(params: PyTree) -> PyTree:
    """Return the parameters of `gaussian` that are the same distribution."""
    return {"mean": params["mean"], "scale_tril": jnp.linalg.cholesky(_covariance(params))}


def _covariance(params: PyTree) -> Array:
    loadings, scale = params["loadings"], params["scale"]
    scale = jnp.broadcast_to(scale[..., None] if scale.ndim == loadings.ndim - 2 else scale, loadings.shape[:-1])
    diagonal = jnp.broadcast_to(jnp.eye(loadings.shape[-2], dtype=scale.dtype), (*scale.shape, scale.shape[-1]))
    return jnp.einsum("...il,...jl->...ij", loadings, loadings) + diagonal * (scale**2)[..., None]
