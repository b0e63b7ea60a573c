"""The categorical distribution by its logits."""

from __future__ import annotations

__all__ = ["Categorical", "uniform_categorical"]

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_integer
from vifx.core.types import Array, Key
from vifx.distributions.log_zero import weighted
from vifx.distributions.supports import LabelsOrWeights, check_classes, enumerated, inside_of


class Categorical(numpyro.Distribution):
    """One of `classes` values 0, 1, ...: ``log P(k) = ℓ_k − log Σ_j exp ℓ_j``.

    Values are integers. Mixed evidence (mixup, soft labels) is a *floating* array of weights with one more axis,
    ``[*batch, classes]``; its `log_prob` is ``Σ_k w_k log P(k)``, the expected log-probability of a label that is drawn
    from w: linear in w, minus the cross-entropy of w and this distribution, and at a one-hot w the same as at the
    integer. It is not the likelihood of counts, which has a multinomial coefficient (`Multinomial`). Integers that are
    not classes (−1, the usual mark of a missing label, too) and weights that are not a distribution have the
    log-probability −∞.

    Args:
      logits: unnormalized log-probabilities, shape ``[*batch, classes]``.

    Raises:
      ValueError: if `logits` has no axis of classes.

    >>> import jax.numpy as jnp
    >>> Categorical(jnp.zeros((5, 10))).batch_shape
    (5,)
    """

    arg_constraints = {"logits": numpyro.constraints.real_vector}  # noqa: RUF012
    has_enumerate_support = True

    def __init__(self, logits: Array) -> None:
        self.logits = jnp.asarray(logits)
        check_classes(self.logits)
        super().__init__(batch_shape=self.logits.shape[:-1], validate_args=False)

    @property
    def classes(self) -> int:
        """The number of values."""
        return self.logits.shape[-1]

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """The integers 0, ..., classes − 1, or weights over them that are at least 0 and sum to 1."""
        return LabelsOrWeights(self.classes)

    @property
    def log_probs(self) -> Array:
        """The normalized log-probabilities in nats, shape ``[*batch, classes]``."""
        return jax.nn.log_softmax(self.logits)

    @property
    def probs(self) -> Array:
        """The probabilities, shape ``[*batch, classes]``."""
        return jax.nn.softmax(self.logits)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw integers, shape ``[*sample_shape, *batch]``."""
        shape = sample_shape + self.batch_shape
        return jax.random.categorical(key, jnp.broadcast_to(self.logits, (*shape, self.classes)))

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats of integers ``[*batch]`` or of weights ``[*batch, classes]``.

        Raises:
          ValueError: if `value` is floating and its last axis is not the classes.
        """
        value = jnp.asarray(value)
        if jnp.issubdtype(value.dtype, jnp.floating):
            if value.ndim == 0 or value.shape[-1] != self.classes:
                raise ValueError(
                    f"value of dtype {value.dtype} must hold weights over a last axis of {self.classes} "
                    f"classes, but has shape {value.shape}; give integers for plain labels"
                )
            weights, log_probs = jnp.broadcast_arrays(value, self.log_probs)
            inside, weights = inside_of(self.support, weights, event=1)
            weights = weights.astype(log_probs.dtype)
            return jnp.where(inside, jnp.sum(weighted(weights, log_probs), axis=-1), -jnp.inf)
        shape = jnp.broadcast_shapes(value.shape, self.batch_shape)
        inside, value = inside_of(self.support, jnp.broadcast_to(value, shape))
        log_probs = jnp.broadcast_to(self.log_probs, (*shape, self.classes))
        found = jnp.take_along_axis(log_probs, value.astype(jnp.int32)[..., None], axis=-1)[..., 0]
        return jnp.where(inside, found, -jnp.inf)

    def entropy(self) -> Array:
        """``−Σ_k P(k) log P(k)`` in nats, shape ``[*batch]``, with 0 log 0 = 0."""
        return -jnp.sum(weighted(self.probs, self.log_probs), axis=-1)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Return 0, 1, ... along a new first axis: ``[classes, *batch]`` or, unexpanded, all else 1."""
        return enumerated(jnp.arange(self.classes), self.batch_shape, expand=expand)


def uniform_categorical(classes: int) -> Categorical:
    """The uniform prior over ``0, ..., classes − 1``, without a batch axis; ``log P = −log classes`` nats.

    Raises:
      ValueError: if `classes` is less than one.

    >>> uniform_categorical(10).classes
    10
    """
    return Categorical(jnp.zeros(require_integer(classes, "classes")))
