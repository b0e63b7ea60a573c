"""The normal distribution, and the standard normal prior."""

from __future__ import annotations

__all__ = ["Normal", "standard_normal"]

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key
from vifx.distributions.supports import inside_of


class Normal(numpyro.Normal):
    """N(loc, scale²), elementwise: a NumPyro `Normal` for strict promotion rules.

    ``log N(x; μ, σ²) = −½ ((x − μ)/σ)² − log σ − ½ log 2π`` in nats. Samples are reparametrized,
    ``μ + σ ε``, and have the dtype of the parameters. Being a subclass, it takes part in every closed form
    that is registered for NumPyro's `Normal`.

    Args:
      loc: the mean μ, shape ``[*batch]``.
      scale: the standard deviation σ > 0, same shape as `loc` after broadcasting.

    >>> import jax.numpy as jnp
    >>> Normal(jnp.zeros((5, 3)), jnp.ones((5, 3))).to_event(1).event_shape
    (3,)
    """

    def __init__(self, loc: Any, scale: Any) -> None:
        loc, scale = jnp.broadcast_arrays(loc, scale)
        super().__init__(loc, scale, validate_args=False)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``μ + σ ε``, shape ``[*sample_shape, *batch]``."""
        shape = sample_shape + self.batch_shape
        noise = jax.random.normal(key, shape, jnp.result_type(self.loc))
        loc, scale = (jnp.broadcast_to(jnp.asarray(parameter), shape) for parameter in (self.loc, self.scale))
        return loc + scale * noise

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats, elementwise; −∞ for values that are not finite."""
        value, loc, scale = jnp.broadcast_arrays(value, jnp.asarray(self.loc), jnp.asarray(self.scale))
        inside, value = inside_of(self.support, value)
        found = -0.5 * ((value - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * math.log(2 * math.pi)
        return jnp.where(inside, found, -jnp.inf)


def standard_normal(*event_shape: int) -> numpyro.Distribution:
    """The prior N(0, I) over events of the given shape, without a batch axis.

    `sample(key, (examples,))` has shape ``[examples, *event_shape]`` and `log_prob` maps that to
    ``[examples]``, in nats, summed over the event.

    >>> standard_normal(16).event_shape
    (16,)
    """
    return Normal(jnp.zeros(event_shape), jnp.ones(event_shape)).to_event(len(event_shape))
