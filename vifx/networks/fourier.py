"""Random Fourier features: an input layer for functions that vary on scales far below the range of their input."""

from __future__ import annotations

__all__ = ["FourierFeatures"]

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.types import Array
from vifx.networks.layers import join


class FourierFeatures(nn.Module):
    """``x ↦ [x, sin(x B), cos(x B)]`` with a fixed random matrix B, ``B ~ N(0, (2π·frequency)²)``.

    A multilayer perceptron learns low frequencies first, and takes very long for details that are a hundredth of
    the input's range; with these features it learns both at once. B is drawn at initialization and is not a parameter.

    Attributes:
      features: the number of columns of B; the output has ``2 · features`` values more than the input.
      frequency: the typical frequency, in periods per unit of x.

    Reference: Tancik et al. (2020), arXiv:2006.10739.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = FourierFeatures(32)
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 2)))
      >>> result.shape
      (4, 66)
    """

    features: int = 64
    frequency: float = 0.5

    def __post_init__(self) -> None:
        """Check the attributes."""
        require_integer(self.features, "FourierFeatures: features")
        require_number(self.frequency, "FourierFeatures: frequency", above=0)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map ``[examples, ...]`` to ``[examples, size + 2 · features]``; variables are joined before."""
        x = join(x)
        shape = (x.shape[1], self.features)
        drawn = self.variable(
            "frequencies", "matrix", lambda: jax.random.normal(self.make_rng("params"), shape, x.dtype)
        )
        angles = 2 * math.pi * self.frequency * (x @ drawn.value)
        return jnp.concatenate([x, jnp.sin(angles), jnp.cos(angles)], axis=-1)
