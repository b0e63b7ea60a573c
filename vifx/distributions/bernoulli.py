"""The Bernoulli distribution by its logits."""

from __future__ import annotations

__all__ = ["Bernoulli"]

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key
from vifx.distributions.log_zero import weighted
from vifx.distributions.supports import UnitInterval, enumerated, inside_of


class Bernoulli(numpyro.Distribution):
    """Binary values with ``log P(x) = x ℓ − log(1 + e^ℓ)``, ℓ the logits, elementwise.

    Samples and the enumerated support are 0 and 1 *in the dtype of the logits*, so that a network takes them
    like binarized evidence. For a soft pixel x in [0, 1] `log_prob` is finite and is minus the
    cross-entropy of Bernoulli(x) and this distribution; outside of [0, 1] it is −∞.

    Args:
      logits: ``log P(1)/P(0)``, shape ``[*batch]``.

    >>> import jax.numpy as jnp
    >>> Bernoulli(jnp.zeros((5, 28, 28, 1))).to_event(3).event_shape
    (28, 28, 1)
    """

    arg_constraints = {"logits": numpyro.constraints.real}  # noqa: RUF012
    has_enumerate_support = True

    def __init__(self, logits: Array) -> None:
        self.logits = jnp.asarray(logits)
        super().__init__(batch_shape=self.logits.shape, validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """The interval [0, 1], of which 0 and 1 have the mass."""
        return UnitInterval()

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw zeros and ones, shape ``[*sample_shape, *batch]``."""
        shape = sample_shape + self.batch_shape
        draws = jax.random.bernoulli(key, jnp.broadcast_to(self.mean, shape))
        return draws.astype(self.logits.dtype)

    def log_prob(self, value: Array) -> Array:
        """Return ``x ℓ − softplus(ℓ)`` in nats, elementwise, also of booleans and integers; −∞ outside of [0, 1].

        Computed without cancellation, and ``ℓ = ±∞`` is certainty.
        """
        value, logits = jnp.broadcast_arrays(value, self.logits)
        inside, value = inside_of(self.support, value)
        return jnp.where(inside, _log_prob(value.astype(logits.dtype), logits), -jnp.inf)

    @property
    def mean(self) -> Array:
        """``P(1) = σ(ℓ)``."""
        return jax.nn.sigmoid(self.logits)

    @property
    def variance(self) -> Array:
        """``σ(ℓ) σ(−ℓ)``."""
        return jax.nn.sigmoid(self.logits) * jax.nn.sigmoid(-self.logits)

    def entropy(self) -> Array:
        """``H = softplus(ℓ) − ℓ σ(ℓ)`` in nats, in a form that does not cancel for large ``|ℓ|``."""
        magnitude = jnp.abs(self.logits)
        return jax.nn.softplus(-magnitude) + weighted(jax.nn.sigmoid(-magnitude), magnitude)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Return 0 and 1 along a new first axis, ``[2, *batch]`` or, unexpanded, ``[2, 1, ...]``."""
        return enumerated(jnp.arange(2, dtype=self.logits.dtype), self.batch_shape, expand=expand)


@jax.custom_jvp
def _log_prob(value: Array, logits: Array) -> Array:
    """Return ``−w |ℓ| − log(1 + e^−|ℓ|)``, w the part of x that is not where ℓ points: one exponential, one log."""
    magnitude = jnp.abs(logits)
    return -weighted(jnp.where(logits > 0, 1 - value, value), magnitude) - jnp.log1p(jnp.exp(-magnitude))


@_log_prob.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    """The slope is ``x − σ(ℓ)``, also at ℓ = 0, where those of the parts jump."""
    (value, logits), (of_value, of_logits) = primals, tangents
    slope = jnp.where(jnp.isfinite(logits), logits, 0)
    return _log_prob(value, logits), slope * of_value + (value - jax.nn.sigmoid(logits)) * of_logits
