"""Variances of Gaussian components: their densities as products of matrices, and the ones that fit best."""

from __future__ import annotations

__all__ = ["Diagonals"]

from collections.abc import Container

import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array, Distribution, PyTree
from vifx.distributions import Normal
from vifx.em.families.covariances import ROUNDING
from vifx.em.families.normal_inverse_wishart import NormalInverseWishart, WhitePrior, whitened
from vifx.em.families.quadratic import best_mean, safe_counts, white_prior
from vifx.em.families.whitening import Kind, Whitening, whiten


class Diagonals:
    """Variances of each feature, or one for all features (spherical).

    Args:
      spherical: whether all features have the same.
      floor: the least variance, in squared units of the data.
      prior: of means and variances, None for maximum likelihood.
      held: the parameters that the M step leaves as they are.
    """

    def __init__(
        self, *, spherical: bool, floor: float, prior: NormalInverseWishart | None = None, held: Container[str] = ()
    ) -> None:
        self.spherical, self.floor, self.prior, self.held = spherical, floor, prior, held
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

    def estimates(self, params: PyTree) -> dict[str, np.ndarray]:
        """Return ``means`` and ``variances [states, d]``, of spherical ones ``[states]``."""
        return {
            "means": np.asarray(params["mean"], np.float64),
            "variances": np.asarray(params["scale"], np.float64) ** 2,
        }

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
        prior = white_prior(self.prior, state, self._kind, counts.shape[0])
        weights = sums[0][:, 2 * size] + prior.confidence
        mean, weights, seen = best_mean(sums[0][:, size : 2 * size], weights, prior)
        # Σ r x μ twice, without Σ r μ²: of the best mean Σ r μ².
        cross = 2 * mean * weights[:, None]
        if "mean" in self.held:
            mean = whiten(state, params["mean"])
        cross = (cross - weights[:, None] * mean) * mean
        total, known = safe_counts((size if self.spherical else 1) * counts + self._more(prior, size))
        pulled = jnp.broadcast_to(prior.confidence * prior.mean**2, mean.shape)
        squares = (sums[0][:, :size] + pulled) / total[:, None] - cross / total[:, None]
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
        best = {"mean": jnp.where(seen[:, None], mean, params["mean"]), "scale": kept}
        return {name: params[name] if name in self.held else value for name, value in best.items()}

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
