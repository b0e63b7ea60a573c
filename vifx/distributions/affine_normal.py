"""Normal distributions whose mean is an affine function of their parents, with some elements observed."""

from __future__ import annotations

__all__ = ["AffineNormal", "masked_factor"]

import math

import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array
from vifx.distributions.multivariate_normal import MultivariateNormal
from vifx.distributions.small_matrices import added, squared_norm, times, triangular_inverse
from vifx.distributions.supports import PartlyReal, inside_of


class AffineNormal(MultivariateNormal):
    """N(C z + d, L Lᵀ): a `MultivariateNormal` that says how it depends on its parents z.

    It promises that `loc` is an affine function of the parents and that `scale_tril` does not depend on them, so that
    an expectation under Gaussian parents is exact (`GaussianChain.expected_log_prob`).

    With `observed`, `log_prob` is that of the observed elements alone, their marginal density; the other elements may
    hold anything, NaN included. Where nothing is observed it is 0. Samples have all elements.

    Args:
      loc: the mean, ``[*batch, d]``.
      scale_tril: L, lower triangular, ``[*batch, d, d]`` or ``[d, d]``.
      observed: which elements are observed, booleans ``[*batch, d]``; all by default.

    Raises:
      ValueError: if `observed` is not boolean, or not of the shape of `loc`.

    >>> import jax.numpy as jnp
    >>> half = AffineNormal(jnp.zeros(2), 2 * jnp.eye(2), observed=jnp.array([True, False]))
    >>> float(half.log_prob(jnp.array([0.0, jnp.nan]))) == float(MultivariateNormal(
    ...     jnp.zeros(1), 2 * jnp.eye(1)).log_prob(jnp.zeros(1)))
    True
    """

    pytree_data_fields = ("observed",)

    def __init__(self, loc: Array, scale_tril: Array, *, observed: Array | None = None) -> None:
        super().__init__(loc, scale_tril)
        shape = (*self.batch_shape, *self.event_shape)
        if observed is not None and (observed.shape != shape or observed.dtype != jnp.bool_):
            raise ValueError(
                f"observed must be booleans {list(shape)}, one for each element, got "
                f"{observed.dtype}{list(observed.shape)}; give jnp.isfinite(x) if missing elements are NaN"
            )
        self.observed = observed

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """Vectors whose observed elements are real."""
        return numpyro.constraints.real_vector if self.observed is None else PartlyReal(self.observed)

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats of the observed elements, ``[..., *batch]``; −∞ if one is not finite."""
        loc, scale_tril = jnp.asarray(self.loc), jnp.asarray(self.scale_tril)
        shape = jnp.broadcast_shapes(value.shape, loc.shape)
        value, loc = jnp.broadcast_to(value, shape), jnp.broadcast_to(loc, shape)
        if self.observed is None:
            number = jnp.asarray(shape[-1], loc.dtype)
        else:
            seen = jnp.broadcast_to(self.observed, shape)
            value, loc = jnp.where(seen, value, 0), jnp.where(seen, loc, 0)
            number = jnp.sum(self.observed, axis=-1).astype(loc.dtype)
            scale_tril = masked_factor(scale_tril, self.observed)
        inside, value = inside_of(self.support, value, event=1)
        inverse = triangular_inverse(scale_tril)
        total = squared_norm(times(inverse, value - loc))
        log_det = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale_tril, axis1=-2, axis2=-1))), axis=-1)
        constant = log_det + 0.5 * math.log(2 * math.pi) * number
        return jnp.where(inside, -0.5 * total - jnp.broadcast_to(constant, total.shape), -jnp.inf)


def masked_factor(scale_tril: Array, observed: Array) -> Array:
    """Return the Cholesky factor of ``L Lᵀ`` with the rows and columns that are not observed those of the identity.

    Args:
      scale_tril: L, ``[..., d, d]``.
      observed: booleans ``[..., d]``.
    """
    own = jnp.where(observed[..., None], scale_tril, 0)
    size = scale_tril.shape[-1]
    others = jnp.where(observed[..., None], 0, jnp.broadcast_to(jnp.eye(size, dtype=own.dtype), own.shape))
    return added(own, others)
