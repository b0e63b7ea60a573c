"""Normal distributions with a free mean and covariance for every state: Gaussian mixtures."""

from __future__ import annotations

__all__ = ["Covariance", "gaussian"]

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal, TypeAlias, get_args

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from vifx.distributions import MultivariateNormal, Normal
from vifx.families.covariances import floored_cholesky
from vifx.families.parents import count, index
from vifx.families.seeding import nearest_seeds
from vifx.families.whitening import Whitening, whiten, whitening
from vifx.types import Array, Family, Key, PyTree

Covariance: TypeAlias = Literal["full", "tied", "diagonal", "spherical"]


def gaussian(states: int | Sequence[int], *, covariance: Covariance = "full", floor: float = 1e-6) -> Family:
    """``N(x; μ_s, Σ_s)`` for every state s of the parents, x a vector (or a number).

    ``log q(x|s) = −½ (x−μ)ᵀ Σ⁻¹ (x−μ) − ½ log|2πΣ|`` is linear in the features ``φ(x) = [x_i x_j (i ≤ j), x, 1]``, so
    that E and M step are a matrix product each. The data are whitened first, by a map that init finds and the
    state keeps, so that squares do not cancel in float32. The M step is ``μ = Σ r x / Σ r`` and
    ``Σ = Σ r (x−μ)(x−μ)ᵀ / Σ r``, its eigenvalues below `floor` raised to it: the maximum of the likelihood over
    ``Σ ⪰ floor · I``, so that the objective never falls. A state that nothing belongs to keeps its parameters.

    Args:
      states: the number of states of the parent, or of each parent; 1 without parents.
      covariance: ``"full"``, ``"tied"`` (one for all states), ``"diagonal"`` or ``"spherical"``.
      floor: the least variance in any direction, in squared units of the data; a component on one point stays finite.

    Returns:
      A family with parameters ``mean [states, d]`` and ``scale_tril [states, d, d]`` (tied: ``[d, d]``), or
      ``scale [states, d]`` (diagonal) or ``[states]`` (spherical), in the units of the data.

    Raises:
      ValueError: a number is out of range or `covariance` is unknown.

    References:
      McLachlan & Peel (2000), Finite Mixture Models.
    """
    sizes = count("gaussian", states)
    number = math.prod(sizes)
    if covariance not in get_args(Covariance):
        raise ValueError(f"gaussian: covariance must be one of {', '.join(get_args(Covariance))}; got {covariance!r}.")
    if not isinstance(floor, Real) or not math.isfinite(floor) or floor < 0:
        raise ValueError(f"gaussian: floor must be a finite number ≥ 0, got {floor!r}.")
    matrix = covariance in ("full", "tied")
    form = _Matrix(covariance == "tied", float(floor)) if matrix else _Diagonal(covariance == "spherical", float(floor))

    def init(key: Key, value: Array | None, *parents: Array) -> tuple[PyTree, PyTree]:
        del parents
        if value is None:
            raise ValueError(
                "gaussian: its parameters are initialized from data, but there are no values of its variable; give a "
                "batch that has them."
            )
        x = _vectors(value)
        kind = "full" if matrix else "scalar" if covariance == "spherical" else "diagonal"
        state = whitening(x, kind)
        responsibilities = nearest_seeds(key, whiten(state, x), number)
        statistics = form.statistics((), features(state, x), responsibilities)
        return form.maximize(form.standard(state, number), state, statistics), state

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Normal | MultivariateNormal, PyTree]:
        del key, train
        at = index(sizes, parents)
        return form.distribution(params, 0 if at is None else at), state

    def features(state: Whitening, value: Array) -> tuple[Array, ...]:
        return form.features(whiten(state, _vectors(value).astype(state.shift.dtype)))

    def log_prior(params: PyTree, state: PyTree) -> Array:
        del state
        return jnp.zeros((), params["mean"].dtype)

    return Family(
        init, apply, features, form.prepare, form.log_probs, form.statistics, form.maximize, log_prior, form.degrees
    )


def _vectors(value: Array) -> Array:
    if value.ndim not in (1, 2):
        raise ValueError(
            f"gaussian: values must be vectors [examples, d] or numbers [examples], got shape {list(value.shape)}; "
            "flatten images first."
        )
    value = value.reshape(len(value), -1)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float))


class _Matrix:
    """Covariance matrices: one for each state, or one that all share (tied)."""

    def __init__(self, tied: bool, floor: float) -> None:
        self.tied, self.floor = tied, floor

    def standard(self, state: Whitening, number: int) -> PyTree:
        size = state.shift.shape[0]
        inverse = solve_triangular(state.matrix, jnp.eye(size, dtype=state.shift.dtype), lower=True)
        scale_tril = inverse if self.tied else jnp.broadcast_to(inverse, (number, size, size))
        return {"mean": jnp.broadcast_to(state.shift, (number, size)), "scale_tril": scale_tril}

    def degrees(self, params: PyTree) -> int:
        states, size = params["mean"].shape[-2:]
        return states * size + (1 if self.tied else states) * size * (size + 1) // 2

    def distribution(self, params: PyTree, at: Array | int) -> MultivariateNormal:
        return MultivariateNormal(params["mean"][at], params["scale_tril"] if self.tied else params["scale_tril"][at])

    def features(self, x: Array) -> tuple[Array, ...]:
        """``[x_i x_j (i ≤ j), x, 1]``; of a tied covariance the squares by themselves, which all states share."""
        ones = jnp.ones((x.shape[0], 1), x.dtype)
        squares = [x[:, i : i + 1] * x[:, i:] for i in range(x.shape[1])]
        if self.tied:
            return jnp.concatenate(squares, axis=1), jnp.concatenate([x, ones], axis=1)
        return (jnp.concatenate([*squares, x, ones], axis=1),)

    def prepare(self, params: PyTree, state: Whitening) -> tuple[Array, ...]:
        """Return the natural parameters in whitened coordinates, ``[features, states]``."""
        scale_tril = state.matrix @ jnp.tril(params["scale_tril"])
        size = scale_tril.shape[-1]
        identity = jnp.broadcast_to(jnp.eye(size, dtype=scale_tril.dtype), scale_tril.shape)
        inverse = solve_triangular(scale_tril, identity, lower=True)
        mean = whiten(state, params["mean"])
        white = jnp.einsum("...ij,kj->ki" if self.tied else "kij,kj->ki", inverse, mean)
        linear = jnp.einsum("...ij,ki->kj" if self.tied else "kij,ki->kj", inverse, white)
        # A is lower triangular and x′ = A (x − m), so log|det| of the whitening adds to the density of x.
        log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale_tril, axis1=-2, axis2=-1))), axis=-1)
        log_det = log_det - jnp.sum(jnp.log(jnp.abs(jnp.diagonal(state.matrix))))
        constant = -0.5 * jnp.sum(white**2, axis=1) - log_det - 0.5 * size * math.log(2 * math.pi)
        rows, columns = np.triu_indices(size)
        precision = jnp.einsum("...ki,...kj->...ij", inverse, inverse)
        pairs = precision[..., rows, columns]
        halves = jnp.broadcast_to(jnp.where(rows == columns, -0.5, -1.0).astype(pairs.dtype), pairs.shape)
        quadratic = halves * pairs
        rest = jnp.concatenate([linear, constant[:, None]], axis=1).T
        return (quadratic[:, None], rest) if self.tied else (jnp.concatenate([quadratic.T, rest], axis=0),)

    def log_probs(self, prepared: tuple[Array, ...], features: tuple[Array, ...]) -> Array:
        if self.tied:
            shared = features[0] @ prepared[0]
            rest = features[1] @ prepared[1]
            return rest + jnp.broadcast_to(shared, rest.shape)
        return features[0] @ prepared[0]

    def statistics(
        self, prepared: tuple[Array, ...], features: tuple[Array, ...], responsibilities: Array
    ) -> tuple[Array, ...]:
        del prepared
        if self.tied:
            shared = jnp.sum(responsibilities, axis=1) @ features[0]
            return shared, responsibilities.T @ features[1]
        return (responsibilities.T @ features[0],)

    def maximize(self, params: PyTree, state: Whitening, statistics: tuple[Array, ...]) -> PyTree:
        size = state.shift.shape[0]
        pairs = size * (size + 1) // 2
        rest = statistics[1] if self.tied else statistics[0][:, pairs:]
        counts, seen = _counts(rest[:, size])
        mean = rest[:, :size] / counts[:, None]
        rows, columns = np.triu_indices(size)
        unpacked = np.zeros((size, size), int)
        unpacked[rows, columns] = unpacked[columns, rows] = np.arange(pairs)
        inverse = solve_triangular(state.matrix, jnp.eye(size, dtype=mean.dtype), lower=True)
        if self.tied:
            between = jnp.where(seen[:, None], rest[:, :size], 0).T @ jnp.where(seen[:, None], mean, 0)
            white = (statistics[0][unpacked] - between) / jnp.sum(jnp.where(seen, counts, 0))
        else:
            white = (statistics[0][:, :pairs] / counts[:, None])[:, unpacked] - mean[:, :, None] * mean[:, None, :]
        scale_tril = floored_cholesky(jnp.einsum("ij,...jk,lk->...il", inverse, white, inverse), self.floor)
        mean = jnp.broadcast_to(state.shift, mean.shape) + mean @ inverse.T
        if not self.tied:
            scale_tril = jnp.where(seen[:, None, None], scale_tril, params["scale_tril"])
        return {"mean": jnp.where(seen[:, None], mean, params["mean"]), "scale_tril": scale_tril}


class _Diagonal:
    """Variances of each feature, or one for all features (spherical)."""

    def __init__(self, spherical: bool, floor: float) -> None:
        self.spherical, self.floor = spherical, floor

    def standard(self, state: Whitening, number: int) -> PyTree:
        size = state.shift.shape[0]
        scale = 1 / state.matrix
        scale = jnp.broadcast_to(scale[0], (number,)) if self.spherical else jnp.broadcast_to(scale, (number, size))
        return {"mean": jnp.broadcast_to(state.shift, (number, size)), "scale": scale}

    def degrees(self, params: PyTree) -> int:
        states, size = params["mean"].shape[-2:]
        return states * size + states * (1 if self.spherical else size)

    def distribution(self, params: PyTree, at: Array | int) -> Normal:
        mean, scale = params["mean"][at], params["scale"][at]
        return Normal(mean, scale[..., None] if self.spherical else scale).to_event(1)

    def features(self, x: Array) -> tuple[Array, ...]:
        """``[x², x, 1]``."""
        return (jnp.concatenate([x**2, x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1),)

    def prepare(self, params: PyTree, state: Whitening) -> tuple[Array, ...]:
        mean = whiten(state, params["mean"])
        scale = params["scale"][:, None] if self.spherical else params["scale"]
        scale = jnp.broadcast_to(scale, mean.shape) * jnp.broadcast_to(state.matrix, mean.shape)
        precision = 1 / scale**2
        log_scale = jnp.log(jnp.abs(scale)) - jnp.broadcast_to(jnp.log(jnp.abs(state.matrix)), scale.shape)
        constant = -0.5 * precision * mean**2 - log_scale - 0.5 * math.log(2 * math.pi)
        rest = jnp.sum(constant, axis=1, keepdims=True)
        return (jnp.concatenate([-0.5 * precision, precision * mean, rest], axis=1).T,)

    def log_probs(self, prepared: tuple[Array, ...], features: tuple[Array, ...]) -> Array:
        return features[0] @ prepared[0]

    def statistics(
        self, prepared: tuple[Array, ...], features: tuple[Array, ...], responsibilities: Array
    ) -> tuple[Array, ...]:
        del prepared
        return (responsibilities.T @ features[0],)

    def maximize(self, params: PyTree, state: Whitening, statistics: tuple[Array, ...]) -> PyTree:
        size = state.shift.shape[0]
        counts, seen = _counts(statistics[0][:, 2 * size])
        each = statistics[0] / counts[:, None]
        mean = each[:, size : 2 * size]
        matrix = jnp.broadcast_to(state.matrix, mean.shape)
        variance = (each[:, :size] - mean**2) / matrix**2
        variance = jnp.mean(variance, axis=1) if self.spherical else variance
        scale = jnp.sqrt(jnp.maximum(variance, max(self.floor, float(jnp.finfo(variance.dtype).tiny))))
        mean = jnp.broadcast_to(state.shift, mean.shape) + mean / matrix
        kept = jnp.where(seen if self.spherical else seen[:, None], scale, params["scale"])
        return {"mean": jnp.where(seen[:, None], mean, params["mean"]), "scale": kept}


def _counts(counts: Array) -> tuple[Array, Array]:
    """Return counts that are safe to divide by, and which states anything belongs to."""
    seen = counts > 10 * jnp.finfo(counts.dtype).eps
    return jnp.where(seen, counts, 1), seen
