"""Normal vectors whose mean is affine in their parents, of which some elements may not be observed."""

from __future__ import annotations

__all__ = ["AffineNormal", "masked_factor"]

import math

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.distributions.cholesky import whitened
from vifx.distributions.multivariate_normal import MultivariateNormal
from vifx.distributions.supports import inside_of


class AffineNormal(MultivariateNormal):
    """N(loc, L Lᵀ) with a promise: as functions of the parents, `loc` is affine and L constant.

    So its expectation under Gaussian parents, such as the steps of a `GaussianChain`, is exact. With `observed`, the
    log-density is that of the observed elements alone, and what stands in the place of the others may be anything.

    Args:
      loc: the mean, ``[*batch, d]``.
      scale_tril: L, lower triangular, ``[d, d]``.
      observed: booleans ``[*batch, d]``; None for all elements.

    >>> import jax.numpy as jnp
    >>> AffineNormal(jnp.zeros((5, 3)), jnp.eye(3)).batch_shape
    (5,)
    """

    pytree_data_fields = ("observed",)

    def __init__(self, loc: Array, scale_tril: Array, *, observed: Array | None = None) -> None:
        self.observed = observed
        super().__init__(loc, scale_tril)

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats of what is observed, ``[..., *batch]``; −∞ if that is not finite."""
        if self.observed is None:
            return super().log_prob(value)
        loc, factor = jnp.asarray(self.loc), masked_factor(jnp.asarray(self.scale_tril), self.observed)
        shape = jnp.broadcast_shapes(value.shape, loc.shape)
        seen, loc = jnp.broadcast_to(self.observed, shape), jnp.broadcast_to(loc, shape)
        inside, value = inside_of(self.support, jnp.where(seen, jnp.broadcast_to(value, shape), loc), event=1)
        square, log_det = whitened(loc, factor, value)
        constants = 0.5 * math.log(2 * math.pi) * jnp.sum(seen, axis=-1).astype(square.dtype)
        return jnp.where(inside, -0.5 * square - log_det - constants, -jnp.inf)


def masked_factor(scale_tril: Array, observed: Array) -> Array:
    """Return the Cholesky factors of L Lᵀ with the rows and columns of what is missing those of the identity.

    Args:
      scale_tril: L, ``[d, d]`` or ``[..., d, d]``.
      observed: booleans ``[..., d]``.
    """
    both = observed[..., :, None] & observed[..., None, :]
    covariance = jnp.broadcast_to(scale_tril @ jnp.swapaxes(scale_tril, -1, -2), both.shape)
    return jnp.linalg.cholesky(jnp.where(both, covariance, jnp.eye(both.shape[-1], dtype=scale_tril.dtype)))
