"""The logistic distribution on 8-bit pixels."""

from __future__ import annotations

__all__ = ["DiscretizedLogistic", "Pixels"]

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
from numpy.typing import NDArray

from vifx.checks import require_integer
from vifx.core.types import Array, Key
from vifx.distributions.supports import Shades, enumerated, inside_of


class Pixels(numpyro.Distribution):
    """What distributions of 8-bit pixels share: S shades of grey, spread over 0, ..., 255.

    Shade k is the pixel nearest to ``255 k / (S − 1)``, as in `vifx.data.dequantize`; with S = 256 it is k itself.

    Attributes:
      shades: S.
    """

    has_enumerate_support = True
    pytree_aux_fields = ("shades",)
    shades: int

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """The pixels of the shades."""
        return Shades(self.shades)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Return the pixels of the shades along a new first axis, ``[S, *batch]`` or, unexpanded, ``[S, 1, ...]``."""
        return enumerated(Shades(self.shades).pixels, self.batch_shape, expand=expand)


class DiscretizedLogistic(Pixels):
    """Shades of grey as rounded logistic noise on the centred scale, as in PixelCNN++.

    With the shades ``k = 0, ..., S − 1``, ``h = (S − 1)/2``, ``x̂ = (k − h)/h``, ``a = (x̂ + 1/2h − μ)/s`` and
    ``b = (x̂ − 1/2h − μ)/s``::

        P(k) = σ(a) − σ(b),   σ(b) := 0 at k = 0,   σ(a) := 1 at k = S − 1,

    so the two ends take the tails and the probabilities sum to one. Inside, the difference is computed as
    ``σ(a) σ(−b) (1 − e^{b−a})``, which is exact, neither overflows nor cancels, and needs no fallback.

    Args:
      loc: μ on the centred scale, shape ``[*batch]``.
      log_scale: ``log s`` on the centred scale, same shape.
      shades: S, from 2 to 256: how many shades of grey the images have.

    Raises:
      TypeError: if `shades` is not an integer.
      ValueError: if it is out of range.

    Reference: Salimans et al., PixelCNN++, 2017, section 2.1.

    >>> import jax.numpy as jnp
    >>> DiscretizedLogistic(jnp.zeros((5, 8, 8, 1)), jnp.zeros((5, 8, 8, 1))).to_event(3).event_shape
    (8, 8, 1)
    """

    arg_constraints = {  # noqa: RUF012
        "loc": numpyro.constraints.real,
        "log_scale": numpyro.constraints.real,
    }

    def __init__(self, loc: Array, log_scale: Array, *, shades: int = 256) -> None:
        self.loc, self.log_scale = jnp.broadcast_arrays(loc, log_scale)
        self.shades = require_integer(shades, "shades", least=2, most=256)
        super().__init__(batch_shape=self.loc.shape, validate_args=False)

    @property
    def _half(self) -> float:
        """h: shade k stands at (k − h)/h, so that all of them span [−1, 1]."""
        return (self.shades - 1) / 2

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw pixels as uint8, shape ``[*sample_shape, *batch]``."""
        shape = sample_shape + self.batch_shape
        noise = jax.random.logistic(key, shape, self.loc.dtype)
        centred = jnp.broadcast_to(self.loc, shape) + jnp.exp(jnp.broadcast_to(self.log_scale, shape)) * noise
        shade = jnp.clip(jnp.round(self._half * centred + self._half), 0.0, self.shades - 1.0)
        return jnp.asarray(Shades(self.shades).pixels, jnp.uint8)[shade.astype(jnp.uint8)]

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats of integer pixels, elementwise; −∞ outside of the shades.

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
        support = Shades(self.shades)
        inside, value = inside_of(support, value)
        shade = support.shade(value)
        distance = (shade.astype(loc.dtype) - self._half) / self._half - loc
        inverse_scale = jnp.exp(-log_scale)
        half_bin = 0.5 / self._half
        upper = (distance + half_bin) * inverse_scale
        lower = (distance - half_bin) * inverse_scale
        width = 2.0 * half_bin * inverse_scale
        first, last = shade <= 0, shade >= self.shades - 1
        log_below_upper = jnp.where(last, 0.0, jax.nn.log_sigmoid(upper))
        log_above_lower = jnp.where(first, 0.0, jax.nn.log_sigmoid(-lower))
        log_both = jnp.where(first | last, 0.0, jnp.log(-jnp.expm1(-width)))
        return jnp.where(inside, log_below_upper + log_above_lower + log_both, -jnp.inf)

    def _summed(self, values: NDArray[np.float64]) -> Array:
        """Return the expectation of a function of the pixel: ``f(0) + Σ_k (f_{k+1} − f_k) P(shade > k)``.

        Args:
          values: f of each shade's pixel, zero for the first.
        """
        edges = (jnp.arange(self.shades - 1, dtype=self.loc.dtype) + 0.5 - self._half) / self._half
        loc, log_scale, edges = jnp.broadcast_arrays(self.loc[..., None], self.log_scale[..., None], edges)
        exceedance = jax.nn.sigmoid((loc - edges) * jnp.exp(-log_scale))
        steps = jnp.asarray(np.diff(values), self.loc.dtype)
        return jnp.sum(jnp.broadcast_to(steps, exceedance.shape) * exceedance, axis=-1)

    @property
    def mean(self) -> Array:
        """``E X``, in pixels 0..255."""
        return self._summed(Shades(self.shades).pixels.astype(np.float64))

    @property
    def variance(self) -> Array:
        """``E (X − E X)²``, in squared pixels."""
        return self._summed(Shades(self.shades).pixels.astype(np.float64) ** 2) - self.mean**2
