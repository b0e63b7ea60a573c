"""Convolutional encoders and decoders between images and maps of codes, which keep the grid."""

from __future__ import annotations

__all__ = ["MapDecoder", "MapEncoder"]

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from vifx.core.types import Array
from vifx.networks.conv import check_image
from vifx.networks.convolution import Conv, ConvTranspose
from vifx.networks.inputs import enter
from vifx.networks.layers import Activation


class MapEncoder(nn.Module):
    """Images to a grid of vectors: 4×4 convolutions of stride 2, a residual 3×3 one, and an affine map of each place.

    Each entry of `channels` halves the height and width, rounded up: of 28×28 pixels two make a grid of 7×7.

    Attributes:
      channels: output channels of each convolution of stride 2.
      features: numbers of each place.
      activation: the nonlinearity.
      inputs: the input layer, such as ``(Pixels(),)``; empty for floats.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> encoder = MapEncoder((16, 32), 8)
      >>> jax.eval_shape(encoder.init_with_output, jax.random.key(0), jnp.ones((4, 28, 28, 1)))[0].shape
      (4, 7, 7, 8)
    """

    channels: Sequence[int]
    features: int
    activation: Activation = nn.relu
    inputs: Sequence[Any] = ()

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Map images ``[examples, height, width, channels]`` to ``[examples, *grid, features]``."""
        (h,) = enter(self.inputs, (image,))
        check_image(h)
        for width in self.channels:
            h = self.activation(Conv(width, 4, stride=2)(h))
        h = h + Conv(self.channels[-1], 3)(self.activation(h))
        return nn.Dense(self.features)(self.activation(h))


class MapDecoder(nn.Module):
    """A grid of vectors to features of an image's size: a 3×3 convolution, a residual one, then upsampling by 2.

    A head maps the features to parameters pixel by pixel.

    Attributes:
      channels: of the grid, from the first on, and after each 4×4 transposed convolution of stride 2: two of them make
        28×28 pixels of a grid of 7×7.
      activation: the nonlinearity.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> decoder = MapDecoder((32, 16))
      >>> jax.eval_shape(decoder.init_with_output, jax.random.key(0), jnp.ones((4, 7, 7, 8)))[0].shape
      (4, 28, 28, 16)
    """

    channels: Sequence[int]
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, grid: Array) -> Array:
        """Map ``[examples, *grid, features]`` to ``[examples, height, width, channels]``."""
        check_image(grid)
        h = Conv(self.channels[0], 3)(grid)
        h = self.activation(h + Conv(self.channels[0], 3)(self.activation(h)))
        for width in self.channels:
            h = self.activation(ConvTranspose(width)(h))
        return h
