"""Mixtures of logistics on 8-bit pixels."""

from __future__ import annotations

__all__ = ["MixtureOfDiscretizedLogistics"]

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_integer
from vifx.core.types import Array, Key
from vifx.distributions.discretized_logistic import DiscretizedLogistic, Pixels
from vifx.distributions.supports import inside_of


class MixtureOfDiscretizedLogistics(Pixels):
    """8-bit pixels with ``P(x) = Σ_k π_k P_k(x)``, each ``P_k`` a `DiscretizedLogistic`.

    Every pixel and channel has a mixture of its own and is independent of the others given the parents.

    Args:
      mixture_logits: ``log π`` up to a constant, shape ``[*batch, components]``.
      loc: the μ_k on the centred scale, same shape.
      log_scale: the ``log s_k`` on the centred scale, same shape.
      shades: as for `DiscretizedLogistic`.

    Reference: Salimans et al., PixelCNN++, 2017, section 2.1, without its channel autoregression.

    >>> import jax.numpy as jnp
    >>> zeros = jnp.zeros((5, 8, 8, 3, 10))
    >>> MixtureOfDiscretizedLogistics(zeros, zeros, zeros).to_event(3).event_shape
    (8, 8, 3)
    """

    arg_constraints = {  # noqa: RUF012
        "mixture_logits": numpyro.constraints.real_vector,
        "loc": numpyro.constraints.real_vector,
        "log_scale": numpyro.constraints.real_vector,
    }

    def __init__(self, mixture_logits: Array, loc: Array, log_scale: Array, *, shades: int = 256) -> None:
        self.shades = require_integer(shades, "shades", least=2, most=256)
        self.mixture_logits, self.loc, self.log_scale = jnp.broadcast_arrays(mixture_logits, loc, log_scale)
        super().__init__(batch_shape=self.loc.shape[:-1], validate_args=False)

    @property
    def components(self) -> DiscretizedLogistic:
        """The logistics, batch shape ``[*batch, components]``."""
        return DiscretizedLogistic(self.loc, self.log_scale, shades=self.shades)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw pixels as uint8, shape ``[*sample_shape, *batch]``."""
        choice_key, pixel_key = jax.random.split(key)
        shape = (*sample_shape, *self.mixture_logits.shape)
        choice = jax.random.categorical(choice_key, jnp.broadcast_to(self.mixture_logits, shape))[..., None]
        loc = jnp.take_along_axis(jnp.broadcast_to(self.loc, shape), choice, axis=-1)[..., 0]
        log_scale = jnp.take_along_axis(jnp.broadcast_to(self.log_scale, shape), choice, axis=-1)[..., 0]
        return DiscretizedLogistic(loc, log_scale, shades=self.shades).sample(pixel_key)

    def log_prob(self, value: Array) -> Array:
        """Return ``log Σ_k π_k P_k(x)`` in nats of integer pixels, elementwise; −∞ outside of the shades.

        Raises:
          TypeError: if `value` is not an integer array.
        """
        inside, value = inside_of(self.support, jnp.asarray(value))
        per_component = self.components.log_prob(value[..., None])
        log_weights = jnp.broadcast_to(jax.nn.log_softmax(self.mixture_logits), per_component.shape)
        found = jax.nn.logsumexp(log_weights + per_component, axis=-1)
        return jnp.where(jnp.broadcast_to(inside, found.shape), found, -jnp.inf)

    @property
    def mean(self) -> Array:
        """``Σ_k π_k m_k``, in pixels 0..255."""
        return jnp.sum(jax.nn.softmax(self.mixture_logits) * self.components.mean, axis=-1)

    @property
    def variance(self) -> Array:
        """``Σ_k π_k (v_k + m_k²) − (Σ_k π_k m_k)²``, in squared pixels."""
        components = self.components
        second_moment = components.variance + components.mean**2
        return jnp.sum(jax.nn.softmax(self.mixture_logits) * second_moment, axis=-1) - self.mean**2
