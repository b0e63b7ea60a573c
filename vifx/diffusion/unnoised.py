"""What there is between categorical data and z_0: nothing."""

from __future__ import annotations

__all__ = ["unnoised"]

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro

from vifx.checks import require
from vifx.core.types import Array, Distribution, Key
from vifx.diffusion.corruption import Corruption
from vifx.distributions.supports import Among


class _Same(numpyro.Distribution):
    """The one value ``[rows, *event]``, with the log-probability 0; −∞ elsewhere."""

    pytree_data_fields = ("value",)
    pytree_aux_fields = ("shades", "classes")

    def __init__(self, value: Array, shades: tuple[int, ...] | None, classes: int) -> None:
        self.value, self.shades, self.classes = value, shades, classes
        super().__init__(value.shape[:1], value.shape[1:], validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """The classes, or the pixels of the shades."""
        interval = numpyro.constraints.integer_interval(0, self.classes - 1)
        each = interval if self.shades is None else Among(np.array(self.shades, np.uint8))
        return numpyro.constraints.independent(each, len(self.event_shape))

    @property
    def mean(self) -> Array:
        """The value."""
        return self.value.astype(jnp.result_type(float))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Return the value, ``[*sample_shape, rows, *event]``."""
        del key
        return jnp.broadcast_to(self.value, (*sample_shape, *self.value.shape))

    def log_prob(self, value: Array) -> Array:
        """Return 0 where a value is the one, elsewhere −∞, ``[..., rows]``."""
        same = value.astype(self.value.dtype) == self.value
        lead = same.shape[: same.ndim - len(self.event_shape)]
        return jnp.where(jnp.all(same.reshape(*lead, -1), axis=-1), jnp.zeros(()), -jnp.inf)


def unnoised(noise: Corruption, *, pixels: bool = False) -> Callable[[Array], Distribution]:
    """A decoder of categorical data without parameters: ``q(x | z) = 1[x = z_0]``.

    The path of `discrete_forward` begins at the data, so that this term is 0 and the bound is that of the chains.

    Args:
      noise: of the chains.
      pixels: whether data are 8-bit images in K shades, of which z has the numbers.

    Raises:
      TypeError: `noise` is not a `Corruption`, or `pixels` not a boolean.
    """
    require(noise, Corruption, "unnoised: noise", "a Corruption", "make one with vifx.diffusion.absorbing(K)")
    require(pixels, bool, "unnoised: pixels", "True or False", "say whether data are 8-bit images")
    shades = tuple(map(int, noise.pixels(np.arange(noise.classes)))) if pixels else None

    def unnoised_of_z0(z: Array) -> Distribution:
        return _Same(noise.pixels(z[:, 0]) if pixels else z[:, 0], shades, noise.classes)

    return unnoised_of_z0
