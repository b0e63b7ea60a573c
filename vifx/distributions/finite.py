"""A distribution over finitely many values, each of which may be an array."""

from __future__ import annotations

__all__ = ["Finite"]

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key
from vifx.distributions.log_zero import weighted
from vifx.distributions.supports import Among, enumerated


class Finite(numpyro.Distribution):
    """One of the given values: ``log P(v_s) = ℓ_s − log Σ_j exp ℓ_j``.

    The posterior of a finite latent is one: of integers for a categorical latent, of binary vectors for a vector
    of Bernoulli latents. A state with ``ℓ = −∞`` is impossible; where all are, the distribution is uniform.

    Args:
      values: the distinct values, ``[states, *event]``.
      logits: unnormalized log-probabilities, ``[*batch, states]``.

    Raises:
      ValueError: if there is not one logit for every value.

    >>> import jax.numpy as jnp
    >>> Finite(jnp.array([[0, 0], [0, 1], [1, 0]]), jnp.zeros((5, 3))).event_shape
    (2,)
    """

    arg_constraints = {"logits": numpyro.constraints.real_vector}  # noqa: RUF012
    has_enumerate_support = True
    pytree_data_fields = ("values", "logits")

    def __init__(self, values: Array | np.ndarray, logits: Array) -> None:
        # Concrete values stay concrete inside a transformation, where a support is static.
        self.values = values if isinstance(values, np.ndarray) else jnp.asarray(values)
        self.logits = jnp.asarray(logits)
        if self.logits.ndim == 0 or self.values.ndim == 0 or self.logits.shape[-1] != self.values.shape[0]:
            raise ValueError(
                f"logits of shape {self.logits.shape} must have one entry on the last axis for each of the values of "
                f"shape {self.values.shape}; give logits [..., states] and values [states, *event]"
            )
        super().__init__(self.logits.shape[:-1], self.values.shape[1:], validate_args=False)

    @property
    def support(self) -> Among:
        """The values."""
        return Among(self.values)

    @property
    def log_probs(self) -> Array:
        """The normalized log-probabilities of the states in nats, ``[*batch, states]``."""
        return jax.nn.log_softmax(self._possible)

    @property
    def _possible(self) -> Array:
        """The logits; zeros where every state is impossible, so that what follows is infinite and not undefined."""
        nothing = jnp.max(self.logits, axis=-1, keepdims=True) == -jnp.inf
        return jnp.where(nothing, 0, self.logits)

    @property
    def probs(self) -> Array:
        """The probabilities of the states, ``[*batch, states]``."""
        return jax.nn.softmax(self._possible)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw values, ``[*sample_shape, *batch, *event]``."""
        shape = sample_shape + self.batch_shape
        state = jax.random.categorical(key, jnp.broadcast_to(self._possible, (*shape, self.logits.shape[-1])))
        return jnp.asarray(self.values)[state]

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats, ``[*batch]``; −∞ for a value that is not one of them."""
        value = jnp.asarray(value)
        event = len(self.event_shape)
        shape = jnp.broadcast_shapes(value.shape[: value.ndim - event], self.batch_shape)
        value = jnp.broadcast_to(value, (*shape, *self.event_shape))
        log_probs = jnp.broadcast_to(self.log_probs, (*shape, self.logits.shape[-1]))
        return jnp.max(jnp.where(self.support.states(value), log_probs, -jnp.inf), axis=-1)

    def entropy(self) -> Array:
        """``−Σ_s P(s) log P(s)`` in nats, ``[*batch]``, with 0 log 0 = 0."""
        return -jnp.sum(weighted(self.probs, self.log_probs), axis=-1)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Return the values along a new first axis: ``[states, *batch, *event]`` or, unexpanded, all of batch 1."""
        return enumerated(self.values, self.batch_shape, expand=expand)
