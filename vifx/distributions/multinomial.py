"""The multinomial distribution by its logits."""

from __future__ import annotations

__all__ = ["Multinomial"]

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro
from jax.scipy.special import gammaln

from vifx.core.types import Array, Key
from vifx.distributions.log_zero import weighted
from vifx.distributions.supports import WholeNumbers, check_classes, inside_of


class Multinomial(numpyro.Distribution):
    """Vectors of counts with ``log P(x) = log n! − Σ_v log x_v! + Σ_v x_v log π_v``, given their sum n.

    The number of trials n = Σ_v x_v may differ between examples: the density is conditional on it. Only samples
    need `trials`.

    Args:
      logits: ``log π`` up to a constant, ``[*batch, classes]``.
      trials: n of samples; None if nothing is to be drawn.

    Raises:
      ValueError: `logits` has no axis of classes.

    >>> import jax.numpy as jnp
    >>> Multinomial(jnp.zeros((5, 10)), trials=3).event_shape
    (10,)
    """

    arg_constraints = {"logits": numpyro.constraints.real_vector}  # noqa: RUF012
    pytree_aux_fields = ("trials",)

    def __init__(self, logits: Array, *, trials: int | None = None) -> None:
        self.logits, self.trials = jnp.asarray(logits), trials
        check_classes(self.logits)
        super().__init__(self.logits.shape[:-1], self.logits.shape[-1:], validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """Vectors of the integers from 0 on."""
        return numpyro.constraints.independent(WholeNumbers(), 1)

    @property
    def probs(self) -> Array:
        """The probabilities of one trial, ``[*batch, classes]``."""
        return jax.nn.softmax(self.logits)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw counts of `trials` trials, integers ``[*sample_shape, *batch, classes]``.

        Raises:
          ValueError: the number of trials is not known.
        """
        if self.trials is None:
            raise ValueError("a multinomial is sampled with a number of trials; give trials=, such as trials=100")
        shape = (*sample_shape, *self.batch_shape)
        classes = self.logits.shape[-1]
        logits = jnp.broadcast_to(self.logits, (*shape, classes))

        def add(counts: Array, key: Key) -> tuple[Array, None]:
            return counts + jax.nn.one_hot(jax.random.categorical(key, logits), classes, dtype=counts.dtype), None

        zeros = jnp.zeros((*shape, classes), jnp.int32)
        return jax.lax.scan(add, zeros, jax.random.split(key, self.trials))[0]

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats given the sum of the counts, ``[*batch]``; −∞ for other values."""
        value, log_probs = jnp.broadcast_arrays(value, jax.nn.log_softmax(self.logits))
        inside, value = inside_of(self.support, value, event=1)
        value = value.astype(log_probs.dtype)
        coefficient = gammaln(jnp.sum(value, axis=-1) + 1) - jnp.sum(gammaln(value + 1), axis=-1)
        return jnp.where(inside, coefficient + jnp.sum(weighted(value, log_probs), axis=-1), -jnp.inf)
