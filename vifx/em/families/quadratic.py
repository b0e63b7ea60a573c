"""Squared distances as products of features and natural parameters, and the covariances that fit them best."""

from __future__ import annotations

__all__ = ["Diagonals", "Matrices", "vectors"]

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array, Distribution, PyTree
from vifx.distributions import MultivariateNormal, Normal
from vifx.em.families.covariances import ROUNDING, floored_cholesky
from vifx.em.families.priors import NormalInverseWishart, WhitePrior, whitened
from vifx.em.families.whitening import Kind, Whitening, whiten


def vectors(name: str, value: Array) -> Array:
    """Return values as vectors in floating point, ``[examples, d]``.

    Args:
      value: ``[examples, d]``.

    Raises:
      ValueError: the values have another number of axes.
    """
    if value.ndim != 2:
        fix = (
            "numbers are vectors of one, x[:, None]"
            if value.ndim == 1
            else ("flatten images, and wrap the family in em.each_step for sequences")
        )
        raise ValueError(f"{name}: values must be vectors [examples, d], got shape {list(value.shape)}; {fix}.")
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float))


class Matrices:
    """Covariance matrices: one for each state, or one that all share (tied).

    Args:
      tied: whether all states share it.
      floor: the least eigenvalue, in squared units of the data.
      prior: of mean and covariance, None for maximum likelihood.
    """

    whitening: Kind = "full"

    def __init__(self, *, tied: bool, floor: float, prior: NormalInverseWishart | None = None) -> None:
        self.tied, self.floor, self.prior = tied, floor, prior

    def standard(self, state: Whitening, number: int) -> PyTree:
        """Return the mean and the covariance of the data for every one of a `number` of states."""
        size = state.shift.shape[0]
        inverse = _inverse(state.matrix)
        scale_tril = inverse if self.tied else jnp.broadcast_to(inverse, (number, size, size))
        return {"mean": jnp.broadcast_to(state.shift, (number, size)), "scale_tril": scale_tril}

    def degrees(self, params: PyTree) -> int:
        """Return the number of free parameters."""
        states, size = params["mean"].shape[-2:]
        return states * size + (1 if self.tied else states) * size * (size + 1) // 2

    def scale_tril(self, params: PyTree, at: Array | int) -> Array:
        """Return the Cholesky factors of the states `at`, ``[..., d, d]``."""
        return params["scale_tril"] if self.tied else params["scale_tril"][at]

    def normal(self, params: PyTree, at: Array | int) -> Distribution:
        """Return the normal distributions of the states `at`."""
        return MultivariateNormal(params["mean"][at], self.scale_tril(params, at))

    def features(self, x: Array) -> tuple[Array, ...]:
        """``[x_i x_j (i ≤ j), x, 1]``; of a tied covariance the squares by themselves, which all states share."""
        ones = jnp.ones((x.shape[0], 1), x.dtype)
        squares = [x[:, i : i + 1] * x[:, i:] for i in range(x.shape[1])]
        if self.tied:
            return jnp.concatenate(squares, axis=1), jnp.concatenate([x, ones], axis=1)
        return (jnp.concatenate([*squares, x, ones], axis=1),)

    def natural(self, params: PyTree, state: Whitening) -> tuple[tuple[Array, ...], Array]:
        """Return what features multiply to ``−½ δ``, ``[features, states]``, and ``½ log|Σ|``, ``[states]``."""
        inverse, white, log_det = self._standardized(params, state)
        linear = jnp.einsum("...ij,ki->kj" if self.tied else "kij,ki->kj", inverse, white)
        rows, columns = np.triu_indices(inverse.shape[-1])
        pairs = jnp.einsum("...ki,...kj->...ij", inverse, inverse)[..., rows, columns]
        halves = jnp.broadcast_to(jnp.where(rows == columns, -0.5, -1.0).astype(pairs.dtype), pairs.shape)
        quadratic = halves * pairs
        rest = jnp.concatenate([linear, -0.5 * jnp.sum(white**2, axis=1, keepdims=True)], axis=1).T
        products = (quadratic[:, None], rest) if self.tied else (jnp.concatenate([quadratic.T, rest], axis=0),)
        return products, jnp.broadcast_to(log_det, white.shape[:1])

    def products(self, natural: tuple[Array, ...], features: tuple[Array, ...]) -> Array:
        """Multiply features and natural parameters, ``[examples, states]``."""
        if self.tied:
            rest = features[1] @ natural[1]
            return rest + jnp.broadcast_to(features[0] @ natural[0], rest.shape)
        return features[0] @ natural[0]

    def magnitude(self, natural: tuple[Array, ...], sums: tuple[Array, ...]) -> Array:
        """Return ``Σ |η_i · Σ_n w_n φ_i(x_n)|``, the absolute values of what cancels in the squared distances."""
        if self.tied:
            return jnp.sum(jnp.abs(natural[0][:, 0] * sums[0])) + jnp.sum(jnp.abs(natural[1].T * sums[1]))
        return jnp.sum(jnp.abs(natural[0].T * sums[0]))

    def variances(self, params: PyTree) -> np.ndarray:
        """Return the variances along the principal axes, ``[states, d]``, increasing."""
        scale_tril = np.asarray(params["scale_tril"], np.float64)
        values = np.linalg.svd(scale_tril, compute_uv=False)[..., ::-1] ** 2
        return np.broadcast_to(values, np.shape(params["mean"]))

    def sums(self, features: tuple[Array, ...], weights: Array) -> tuple[Array, ...]:
        """Return ``Σ_n w_ns φ(x_n)``; of weights ``[examples, states]``."""
        if self.tied:
            return jnp.sum(weights, axis=1) @ features[0], weights.T @ features[1]
        return (weights.T @ features[0],)

    def count(self, sums: tuple[Array, ...]) -> Array:
        """Return ``Σ_n w_ns``, ``[states]``."""
        return sums[-1][:, -1]

    def maximize(self, params: PyTree, state: Whitening, sums: tuple[Array, ...], counts: Array) -> PyTree:
        """Return the best mean and covariance, the ones that there were for a state that nothing belongs to.

        Args:
          sums: ``Σ w φ``.
          counts: what the weighted squares are divided by, ``[states]``: the number of examples.
        """
        size = state.shift.shape[0]
        prior = _prior(self.prior, state, "tied" if self.tied else "full", counts.shape[0])
        pairs = size * (size + 1) // 2
        rest = sums[-1] if self.tied else sums[0][:, pairs:]
        weights = rest[:, size] + prior.confidence
        mean, weights, seen = _mean(rest[:, :size], weights, prior)
        rows, columns = np.triu_indices(size)
        unpacked = np.zeros((size, size), int)
        unpacked[rows, columns] = unpacked[columns, rows] = np.arange(pairs)
        pulled = prior.confidence * prior.mean[:, None] * prior.mean[None, :]
        if self.tied:
            between = jnp.where(seen[:, None], weights[:, None] * mean, 0).T @ mean
            own = prior.scale + counts.shape[0] * pulled
            total, known = _safe(jnp.sum(counts) + self._more(prior, size, counts.shape[0]))
            white = (sums[0][unpacked] + own - between) / total
        else:
            total, known = _safe(counts + self._more(prior, size, 1))
            share = weights / total
            second = (sums[0][:, :pairs] / total[:, None])[:, unpacked] + (prior.scale + pulled)[None] / total[
                :, None, None
            ]
            white = second - share[:, None, None] * mean[:, :, None] * mean[:, None, :]
        inverse = _inverse(state.matrix)
        kept = known if self.tied else known[:, None, None]
        white = jnp.where(kept, white, jnp.broadcast_to(jnp.eye(size, dtype=mean.dtype), white.shape))
        factor = floored_cholesky(white, self.floor, state.matrix)
        scale_tril = jnp.where(kept, jnp.einsum("ij,...jk->...ik", inverse, factor), params["scale_tril"])
        mean = jnp.broadcast_to(state.shift, mean.shape) + mean @ inverse.T
        return {"mean": jnp.where(seen[:, None], mean, params["mean"]), "scale_tril": scale_tril}

    def log_prior(self, params: PyTree, state: Whitening) -> Array:
        """Return the log-density of the prior in nats, up to a constant."""
        if self.prior is None:
            return jnp.zeros((), params["mean"].dtype)
        states, size = params["mean"].shape
        prior = whitened(self.prior, state, "tied" if self.tied else "full", states)
        inverse, white, log_det = self._standardized(params, state)
        trace = jnp.einsum("...ij,jk,...ik->...", inverse, prior.scale, inverse)
        pull = jnp.einsum("...ij,j->...i", inverse, prior.mean)
        apart = jnp.sum((white - jnp.broadcast_to(pull, white.shape)) ** 2)
        more = self._more(prior, size, states if self.tied else 1)
        return -jnp.sum(more * log_det) - 0.5 * jnp.sum(trace) - 0.5 * prior.confidence * apart

    def _more(self, prior: WhitePrior, size: int, states: int) -> float:
        """Return what the prior adds to the number of examples: of ``Σ`` once, of the mean of each state."""
        return prior.degrees + size + 1 + states if self.prior is not None else 0.0

    def _standardized(self, params: PyTree, state: Whitening) -> tuple[Array, Array, Array]:
        """Return L⁻¹ and L⁻¹ μ in whitened coordinates, and the log-determinant of L in the data's."""
        scale_tril = state.matrix @ jnp.tril(params["scale_tril"])
        identity = jnp.broadcast_to(jnp.eye(scale_tril.shape[-1], dtype=scale_tril.dtype), scale_tril.shape)
        inverse = solve_triangular(scale_tril, identity, lower=True)
        mean = whiten(state, params["mean"])
        white = jnp.einsum("...ij,kj->ki" if self.tied else "kij,kj->ki", inverse, mean)
        # A is lower triangular and x′ = A (x − m), so log|det| of the whitening adds to the density of x.
        log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale_tril, axis1=-2, axis2=-1))), axis=-1)
        return inverse, white, log_det - jnp.sum(jnp.log(jnp.abs(jnp.diagonal(state.matrix))))


class Diagonals:
    """Variances of each feature, or one for all features (spherical).

    Args:
      spherical: whether all features have the same.
      floor: the least variance, in squared units of the data.
      prior: of means and variances, None for maximum likelihood.
    """

    def __init__(self, *, spherical: bool, floor: float, prior: NormalInverseWishart | None = None) -> None:
        self.spherical, self.floor, self.prior = spherical, floor, prior
        self.whitening: Kind = "scalar" if spherical else "diagonal"

    def standard(self, state: Whitening, number: int) -> PyTree:
        """Return the mean and the variances of the data for every one of a `number` of states."""
        size = state.shift.shape[0]
        scale = 1 / state.matrix
        scale = jnp.broadcast_to(scale[0], (number,)) if self.spherical else jnp.broadcast_to(scale, (number, size))
        return {"mean": jnp.broadcast_to(state.shift, (number, size)), "scale": scale}

    def degrees(self, params: PyTree) -> int:
        """Return the number of free parameters."""
        states, size = params["mean"].shape[-2:]
        return states * size + states * (1 if self.spherical else size)

    def scale_tril(self, params: PyTree, at: Array | int) -> Array:
        """Return the Cholesky factors of the states `at`, ``[..., d, d]``."""
        mean, scale = params["mean"][at], params["scale"][at]
        scale = jnp.broadcast_to(scale[..., None] if self.spherical else scale, mean.shape)
        return scale[..., None] * jnp.broadcast_to(
            jnp.eye(mean.shape[-1], dtype=mean.dtype), (*mean.shape, mean.shape[-1])
        )

    def normal(self, params: PyTree, at: Array | int) -> Distribution:
        """Return the normal distributions of the states `at`."""
        mean, scale = params["mean"][at], params["scale"][at]
        return Normal(mean, scale[..., None] if self.spherical else scale).to_event(1)

    def features(self, x: Array) -> tuple[Array, ...]:
        """``[x², x, 1]``."""
        return (jnp.concatenate([x**2, x, jnp.ones((x.shape[0], 1), x.dtype)], axis=1),)

    def natural(self, params: PyTree, state: Whitening) -> tuple[tuple[Array, ...], Array]:
        """Return what features multiply to ``−½ δ``, ``[features, states]``, and ``½ log|Σ|``, ``[states]``."""
        mean, precision, log_scale = self._standardized(params, state)
        rest = -0.5 * jnp.sum(precision * mean**2, axis=1, keepdims=True)
        products = jnp.concatenate([-0.5 * precision, precision * mean, rest], axis=1).T
        return (products,), jnp.sum(log_scale, axis=1)

    def products(self, natural: tuple[Array, ...], features: tuple[Array, ...]) -> Array:
        """Multiply features and natural parameters, ``[examples, states]``."""
        return features[0] @ natural[0]

    def magnitude(self, natural: tuple[Array, ...], sums: tuple[Array, ...]) -> Array:
        """Return ``Σ |η_i · Σ_n w_n φ_i(x_n)|``, the absolute values of what cancels in the squared distances."""
        return jnp.sum(jnp.abs(natural[0].T * sums[0]))

    def variances(self, params: PyTree) -> np.ndarray:
        """Return the variances, ``[states, d]``, increasing."""
        scale = np.asarray(params["scale"], np.float64)
        return np.sort(np.broadcast_to(scale[:, None] if self.spherical else scale, np.shape(params["mean"])) ** 2)

    def sums(self, features: tuple[Array, ...], weights: Array) -> tuple[Array, ...]:
        """Return ``Σ_n w_ns φ(x_n)``; of weights ``[examples, states]``."""
        return (weights.T @ features[0],)

    def count(self, sums: tuple[Array, ...]) -> Array:
        """Return ``Σ_n w_ns``, ``[states]``."""
        return sums[0][:, -1]

    def maximize(self, params: PyTree, state: Whitening, sums: tuple[Array, ...], counts: Array) -> PyTree:
        """Return the best means and scales, the ones that there were for a state that nothing belongs to.

        Args:
          sums: ``Σ w φ``.
          counts: what the weighted squares are divided by, ``[states]``: the number of examples.
        """
        size = state.shift.shape[0]
        prior = _prior(self.prior, state, self._kind, counts.shape[0])
        weights = sums[0][:, 2 * size] + prior.confidence
        mean, weights, seen = _mean(sums[0][:, size : 2 * size], weights, prior)
        total, known = _safe((size if self.spherical else 1) * counts + self._more(prior, size))
        pulled = jnp.broadcast_to(prior.confidence * prior.mean**2, mean.shape)
        squares = (sums[0][:, :size] + pulled) / total[:, None] - (weights / total)[:, None] * mean**2
        matrix = jnp.broadcast_to(state.matrix, mean.shape)
        scale = jnp.broadcast_to(prior.scale, mean.shape) / total[:, None]
        variance = squares / matrix**2 if self.spherical else (squares + scale) / matrix**2
        if self.spherical:
            variance = jnp.sum(variance, axis=1) + scale[:, 0] / state.matrix[0] ** 2
        # The same at every M step, which so are maxima over one set.
        least = jnp.maximum(ROUNDING * float(jnp.finfo(mean.dtype).eps) / state.matrix**2, self.floor)
        least = jnp.max(least) if self.spherical else jnp.broadcast_to(least, variance.shape)
        scale = jnp.sqrt(jnp.maximum(variance, least))
        mean = jnp.broadcast_to(state.shift, mean.shape) + mean / matrix
        kept = jnp.where(known if self.spherical else known[:, None], scale, params["scale"])
        return {"mean": jnp.where(seen[:, None], mean, params["mean"]), "scale": kept}

    def log_prior(self, params: PyTree, state: Whitening) -> Array:
        """Return the log-density of the prior in nats, up to a constant."""
        if self.prior is None:
            return jnp.zeros((), params["mean"].dtype)
        states, size = params["mean"].shape
        prior = whitened(self.prior, state, self._kind, states)
        mean, precision, log_scale = self._standardized(params, state)
        columns = slice(0, 1) if self.spherical else slice(None)
        scale = jnp.broadcast_to(prior.scale, precision.shape)[:, columns]
        apart = (mean - jnp.broadcast_to(prior.mean, mean.shape)) ** 2
        squares = jnp.sum(scale * precision[:, columns]) + prior.confidence * jnp.sum(apart * precision)
        return -self._more(prior, size) * jnp.sum(log_scale[:, columns]) - 0.5 * squares

    @property
    def _kind(self) -> str:
        return "spherical" if self.spherical else "diagonal"

    def _more(self, prior: WhitePrior, size: int) -> float:
        """Return what the prior adds to the number of numbers that a variance is of."""
        return prior.degrees + 2 + (size if self.spherical else 1) if self.prior is not None else 0.0

    def _standardized(self, params: PyTree, state: Whitening) -> tuple[Array, Array, Array]:
        """Return means and precisions in whitened coordinates, and logarithms of scales in the data's."""
        mean = whiten(state, params["mean"])
        scale = params["scale"][:, None] if self.spherical else params["scale"]
        scale = jnp.broadcast_to(scale, mean.shape)
        return mean, 1 / (scale * jnp.broadcast_to(state.matrix, mean.shape)) ** 2, jnp.log(jnp.abs(scale))


def _inverse(matrix: Array) -> Array:
    return solve_triangular(matrix, jnp.eye(matrix.shape[0], dtype=matrix.dtype), lower=True)


def _prior(prior: NormalInverseWishart | None, state: Whitening, kind: str, states: int) -> WhitePrior:
    """Return the prior in whitened coordinates, or one that adds nothing."""
    if prior is not None:
        return whitened(prior, state, kind, states)
    size = state.shift.shape[0]
    zeros = jnp.zeros(size, state.shift.dtype)
    return WhitePrior(0.0, 0.0, zeros, jnp.zeros((size, size), zeros.dtype) if kind in ("full", "tied") else zeros)


def _mean(sums: Array, weights: Array, prior: WhitePrior) -> tuple[Array, Array, Array]:
    """Return means in whitened coordinates, their weights, and which states anything belongs to."""
    safe, seen = _safe(weights)
    pulled = sums + jnp.broadcast_to(prior.confidence * prior.mean, sums.shape)
    return pulled / safe[:, None], safe, seen


def _safe(counts: Array) -> tuple[Array, Array]:
    """Return counts that are safe to divide by, and which ones anything belongs to."""
    seen = counts > 10 * jnp.finfo(counts.dtype).eps
    return jnp.where(seen, counts, 1), seen
