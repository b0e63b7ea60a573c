"""The logistic distribution on 8-bit pixels."""

from __future__ import annotations

__all__ = ["DiscretizedLogistic", "Pixels"]

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Key
from vifx.distributions.supports import WholeNumbers, enumerated, inside_of

_HALF_RANGE = 127.5  # pixel x stands at (x − 127.5)/127.5, so that 0..255 spans [−1, 1]
_HALF_BIN = 1.0 / 255.0


class Pixels(numpyro.Distribution):
    """What distributions of 8-bit pixels share: the integers 0, ..., 255."""

    has_enumerate_support = True

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """The integers 0, ..., 255."""
        return WholeNumbers(largest=255)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Return 0, ..., 255 along a new first axis, ``[256, *batch]`` or, unexpanded, ``[256, 1, ...]``."""
        return enumerated(jnp.arange(256), self.batch_shape, expand=expand)


class DiscretizedLogistic(Pixels):
    """Pixels 0, ..., 255 as rounded logistic noise on the centred scale, as in PixelCNN++.

    With ``x̂ = (x − 127.5)/127.5``, ``a = (x̂ + 1/255 − μ)/s`` and ``b = (x̂ − 1/255 − μ)/s``::

        P(x) = σ(a) − σ(b),   σ(b) := 0 at x = 0,   σ(a) := 1 at x = 255,

    so the two ends take the tails and the probabilities sum to one. Inside, the difference is computed as
    ``σ(a) σ(−b) (1 − e^{b−a})``, which is exact, neither overflows nor cancels, and needs no fallback.

    Args:
      loc: μ on the centred scale, shape ``[*batch]``.
      log_scale: ``log s`` on the centred scale, same shape.

    Reference: Salimans et al., PixelCNN++, 2017, section 2.1.

    >>> import jax.numpy as jnp
    >>> DiscretizedLogistic(jnp.zeros((5, 8, 8, 1)), jnp.zeros((5, 8, 8, 1))).to_event(3).event_shape
    (8, 8, 1)
    """

    arg_constraints = {  # noqa: RUF012
        "loc": numpyro.constraints.real,
        "log_scale": numpyro.constraints.real,
    }

    def __init__(self, loc: Array, log_scale: Array) -> None:
        self.loc, self.log_scale = jnp.broadcast_arrays(loc, log_scale)
        super().__init__(batch_shape=self.loc.shape, validate_args=False)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw pixels as uint8, shape ``[*sample_shape, *batch]``."""
        shape = sample_shape + self.batch_shape
        noise = jax.random.logistic(key, shape, self.loc.dtype)
        centred = jnp.broadcast_to(self.loc, shape) + jnp.exp(jnp.broadcast_to(self.log_scale, shape)) * noise
        return jnp.clip(jnp.round(_HALF_RANGE * centred + _HALF_RANGE), 0.0, 255.0).astype(jnp.uint8)

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats of integer pixels, elementwise; −∞ outside of 0..255.

        Raises:
          TypeError: if `value` is not an integer array: scaled pixels would be scored wrongly.
        """
        value = jnp.asarray(value)
        if not jnp.issubdtype(value.dtype, jnp.integer):
            raise TypeError(
                f"value must hold integer pixels 0..255, but has dtype {value.dtype}; "
                "leave the evidence unscaled, and scale inside the network with vifx.networks.Pixels"
            )
        value, loc, log_scale = jnp.broadcast_arrays(value, self.loc, self.log_scale)
        inside, value = inside_of(self.support, value)
        distance = (value.astype(loc.dtype) - _HALF_RANGE) / _HALF_RANGE - loc
        inverse_scale = jnp.exp(-log_scale)
        upper = (distance + _HALF_BIN) * inverse_scale
        lower = (distance - _HALF_BIN) * inverse_scale
        width = 2.0 * _HALF_BIN * inverse_scale
        first, last = value <= 0, value >= 255
        log_below_upper = jnp.where(last, 0.0, jax.nn.log_sigmoid(upper))
        log_above_lower = jnp.where(first, 0.0, jax.nn.log_sigmoid(-lower))
        log_both = jnp.where(first | last, 0.0, jnp.log(-jnp.expm1(-width)))
        return jnp.where(inside, log_below_upper + log_above_lower + log_both, -jnp.inf)

    def _exceedance(self) -> Array:
        """``P(X > k)`` for k = 0, ..., 254, shape ``[*batch, 255]``."""
        edges = (jnp.arange(255, dtype=self.loc.dtype) + 0.5 - _HALF_RANGE) / _HALF_RANGE
        loc, log_scale, edges = jnp.broadcast_arrays(self.loc[..., None], self.log_scale[..., None], edges)
        return jax.nn.sigmoid((loc - edges) * jnp.exp(-log_scale))

    @property
    def mean(self) -> Array:
        """``E X = Σ_k P(X > k)``, in pixels 0..255."""
        return jnp.sum(self._exceedance(), axis=-1)

    @property
    def variance(self) -> Array:
        """``E (X − m)²`` in squared pixels, with ``E X² = Σ_k (2k + 1) P(X > k)``."""
        exceedance = self._exceedance()
        odd = jnp.broadcast_to(2 * jnp.arange(255, dtype=self.loc.dtype) + 1, exceedance.shape)
        return jnp.sum(odd * exceedance, axis=-1) - jnp.sum(exceedance, axis=-1) ** 2
