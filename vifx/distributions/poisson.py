"""The Poisson distribution by its logarithmic rate."""

from __future__ import annotations

__all__ = ["Poisson"]

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro
from jax.scipy.special import gammaln

from vifx.core.types import Array, Key
from vifx.distributions.log_zero import weighted
from vifx.distributions.supports import WholeNumbers, inside_of


class Poisson(numpyro.Distribution):
    """Counts with ``log P(x) = x log λ − λ − log x!``, elementwise.

    Args:
      log_rate: ``log λ``, shape ``[*batch]``; at −∞ the count is 0 for sure.

    >>> import jax.numpy as jnp
    >>> Poisson(jnp.zeros((5, 3))).to_event(1).event_shape
    (3,)
    """

    arg_constraints = {"log_rate": numpyro.constraints.real}  # noqa: RUF012

    def __init__(self, log_rate: Array) -> None:
        self.log_rate = jnp.asarray(log_rate)
        super().__init__(batch_shape=self.log_rate.shape, validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """The integers from 0 on."""
        return WholeNumbers()

    @property
    def mean(self) -> Array:
        """λ."""
        return jnp.exp(self.log_rate)

    @property
    def variance(self) -> Array:
        """λ."""
        return jnp.exp(self.log_rate)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw integers, ``[*sample_shape, *batch]``."""
        shape = sample_shape + self.batch_shape
        return jax.random.poisson(key, jnp.broadcast_to(self.mean, shape), shape)

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats, elementwise, of integers or of whole numbers in floating point.

        It is −∞ for negative numbers and for fractions.
        """
        value, log_rate = jnp.broadcast_arrays(value, self.log_rate)
        inside, value = inside_of(self.support, value)
        value = value.astype(log_rate.dtype)
        return jnp.where(inside, weighted(value, log_rate) - jnp.exp(log_rate) - gammaln(value + 1), -jnp.inf)
