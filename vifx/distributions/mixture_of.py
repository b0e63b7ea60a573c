"""A finite mixture of the members of a batch of distributions."""

from __future__ import annotations

__all__ = ["MixtureOf"]

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key


class MixtureOf(numpyro.Distribution):
    """``q(z) = Σ_k π_k q_k(z)`` of K members of one batch, without a batch axis of its own.

    Its log-density is exact, a log-sum-exp over the members.

    Args:
      members: a distribution with batch shape ``[K]``.
      logits: of the weights π, ``[K]``; equal ones by default.

    Raises:
      ValueError: if the members have no batch axis, or more than one, or the logits have another shape.

    >>> import jax.numpy as jnp
    >>> from vifx.distributions import Normal
    >>> MixtureOf(Normal(jnp.zeros((5, 2)), jnp.ones((5, 2))).to_event(1)).event_shape
    (2,)
    """

    pytree_data_fields = ("members", "logits")

    def __init__(self, members: Any, logits: Array | None = None) -> None:
        if len(members.batch_shape) != 1:
            raise ValueError(
                f"MixtureOf: members must have one batch axis, [K], got batch shape {list(members.batch_shape)}; "
                "declare event dimensions with .to_event(n)."
            )
        self.members = members
        self.logits = jnp.zeros(members.batch_shape) if logits is None else jnp.asarray(logits)
        if self.logits.shape != tuple(members.batch_shape):
            raise ValueError(
                f"MixtureOf: logits must be [K], one for each of {members.batch_shape[0]} members, got shape "
                f"{list(self.logits.shape)}."
            )
        super().__init__((), members.event_shape, validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """That of the members."""
        return self.members.support

    @property
    def has_rsample(self) -> bool:
        """Whether samples are differentiable: which member it is of is not."""
        return False

    @property
    def mean(self) -> Array:
        """``Σ_k π_k E_k z``."""
        return jnp.tensordot(jax.nn.softmax(self.logits), self.members.mean, axes=1)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``[*sample_shape, *event]``."""
        which, values = jax.random.split(key)
        chosen = jax.random.categorical(which, self.logits, shape=sample_shape).reshape(-1)
        keys = jax.random.split(values, chosen.shape[0])
        drawn = jax.lax.map(lambda one: self.members.sample(one[0])[one[1]], (keys, chosen), batch_size=256)
        return drawn.reshape(*sample_shape, *self.event_shape)

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats of values ``[..., *event]``: ``[...]``."""
        value = jnp.asarray(value)
        axis = value.ndim - len(self.event_shape)
        each = self.members.log_prob(jnp.expand_dims(value, axis))
        weights = jnp.broadcast_to(jax.nn.log_softmax(self.logits).astype(each.dtype), each.shape)
        total = each + weights
        possible = jnp.any(total > -jnp.inf, axis=-1)
        # Where no member has it, the gradient of a log-sum-exp would not be a number.
        found = jax.nn.logsumexp(jnp.where(possible[..., None], total, 0), axis=-1)
        return jnp.where(possible, found, -jnp.inf)
