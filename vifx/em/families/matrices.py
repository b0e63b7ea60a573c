"""Covariance matrices of Gaussian components: their densities as products of matrices, and the ones that fit best."""

from __future__ import annotations

__all__ = ["Matrices"]

from collections.abc import Container

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from vifx.core.types import Array, Distribution, PyTree
from vifx.distributions import MultivariateNormal
from vifx.em.families.covariances import floored_cholesky, multiplied
from vifx.em.families.normal_inverse_wishart import NormalInverseWishart, WhitePrior, whitened
from vifx.em.families.quadratic import best_mean, inverse_factor, safe_counts, white_prior
from vifx.em.families.whitening import Kind, Whitening, whiten


class Matrices:
    """Covariance matrices: one for each state, or one that all share (tied).

    Args:
      tied: whether all states share it.
      floor: the least eigenvalue, in squared units of the data.
      prior: of mean and covariance, None for maximum likelihood.
      held: the parameters that the M step leaves as they are.
    """

    whitening: Kind = "full"

    def __init__(
        self, *, tied: bool, floor: float, prior: NormalInverseWishart | None = None, held: Container[str] = ()
    ) -> None:
        self.tied, self.floor, self.prior, self.held = tied, floor, prior, held

    def standard(self, state: Whitening, number: int) -> PyTree:
        """Return the mean and the covariance of the data for every one of a `number` of states."""
        size = state.shift.shape[0]
        inverse = inverse_factor(state.matrix)
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

    def estimates(self, params: PyTree) -> dict[str, np.ndarray]:
        """Return ``means``, and ``covariances [states, d, d]`` or the tied ``covariance [d, d]``."""
        name = "covariance" if self.tied else "covariances"
        return {"means": np.asarray(params["mean"], np.float64), name: multiplied(params["scale_tril"])}

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
        prior = white_prior(self.prior, state, "tied" if self.tied else "full", counts.shape[0])
        pairs = size * (size + 1) // 2
        rest = sums[-1] if self.tied else sums[0][:, pairs:]
        weights = rest[:, size] + prior.confidence
        mean, weights, seen = best_mean(rest[:, :size], weights, prior)
        sums_of = mean * weights[:, None]
        if "mean" in self.held:
            mean = whiten(state, params["mean"])
        rows, columns = np.triu_indices(size)
        unpacked = np.zeros((size, size), int)
        unpacked[rows, columns] = unpacked[columns, rows] = np.arange(pairs)
        pulled = prior.confidence * prior.mean[:, None] * prior.mean[None, :]
        # Σ r x μᵀ + μ Σ r xᵀ − Σ r μ μᵀ, of the best mean Σ r μ μᵀ; of a state that nothing belongs to nothing.
        cross = jnp.where(seen[:, None], 2 * sums_of - weights[:, None] * mean, 0)
        if self.tied:
            between = cross.T @ mean
            own = prior.scale + counts.shape[0] * pulled
            total, known = safe_counts(jnp.sum(counts) + self._more(prior, size, counts.shape[0]))
            white = (sums[0][unpacked] + own - 0.5 * (between + between.T)) / total
        else:
            total, known = safe_counts(counts + self._more(prior, size, 1))
            second = (sums[0][:, :pairs] / total[:, None])[:, unpacked] + (prior.scale + pulled)[None] / total[
                :, None, None
            ]
            between = (cross / total[:, None])[:, :, None] * mean[:, None, :]
            white = second - 0.5 * (between + jnp.swapaxes(between, -1, -2))
        inverse = inverse_factor(state.matrix)
        kept = known if self.tied else known[:, None, None]
        white = jnp.where(kept, white, jnp.broadcast_to(jnp.eye(size, dtype=mean.dtype), white.shape))
        factor = floored_cholesky(white, self.floor, state.matrix)
        scale_tril = jnp.where(kept, jnp.einsum("ij,...jk->...ik", inverse, factor), params["scale_tril"])
        mean = jnp.broadcast_to(state.shift, mean.shape) + mean @ inverse.T
        best = {"mean": jnp.where(seen[:, None], mean, params["mean"]), "scale_tril": scale_tril}
        return {name: params[name] if name in self.held else value for name, value in best.items()}

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
