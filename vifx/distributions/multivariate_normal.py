"""The multivariate normal distribution by its Cholesky factor."""

from __future__ import annotations

__all__ = ["MultivariateNormal"]

import math

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key
from vifx.distributions.cholesky import broadcast, moved, whitened
from vifx.distributions.supports import inside_of


class MultivariateNormal(numpyro.MultivariateNormal):
    """N(loc, L Lᵀ): a NumPyro `MultivariateNormal` for strict promotion rules.

    ``log N(x; μ, L Lᵀ) = −½ ‖L⁻¹(x − μ)‖² − Σ_i log|L_ii| − (d/2) log 2π`` in nats. Samples are reparameterized,
    ``μ + L ε``. Being a subclass, it takes part in every closed form that is registered for NumPyro's.

    Args:
      loc: the mean μ, ``[*batch, d]``.
      scale_tril: L, lower triangular, ``[*batch, d, d]`` or ``[d, d]``.

    >>> import jax.numpy as jnp
    >>> MultivariateNormal(jnp.zeros((5, 3)), jnp.eye(3)).batch_shape
    (5,)
    """

    def __init__(self, loc: Array, scale_tril: Array) -> None:
        loc, scale_tril = broadcast(loc, scale_tril)
        super().__init__(loc, scale_tril=scale_tril, validate_args=False)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``μ + L ε``, ``[*sample_shape, *batch, d]``."""
        loc, scale_tril = jnp.asarray(self.loc), jnp.asarray(self.scale_tril)
        noise = jax.random.normal(key, (*sample_shape, *loc.shape), loc.dtype)
        return moved(loc, scale_tril, noise)

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats, ``[*batch]``; −∞ for values that are not finite."""
        loc, scale_tril = jnp.asarray(self.loc), jnp.asarray(self.scale_tril)
        shape = jnp.broadcast_shapes(value.shape, loc.shape)
        inside, value = inside_of(self.support, jnp.broadcast_to(value, shape), event=1)
        square, log_det = whitened(loc, scale_tril, value)
        found = -0.5 * square - log_det - 0.5 * shape[-1] * math.log(2 * math.pi)
        return jnp.where(inside, found, -jnp.inf)
