"""Residual blocks with pre-activation, and the encoders and decoders built of them."""

from __future__ import annotations

__all__ = ["ResidualBlock", "ResidualDecoder", "ResidualEncoder", "resampled"]

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.networks.conv import check_image, seed
from vifx.networks.convolution import Conv
from vifx.networks.layers import Activation, Initializer, Norm, join, normalize


class ResidualBlock(nn.Module):
    """``shortcut(x) + conv(act(norm(conv(act(norm(x))))))`` with 3×3 convolutions.

    By default the second convolution starts at zero, so that a new block is its shortcut: the identity, an average
    over 2×2 pixels (``"down"``) or their repetition (``"up"``), followed by a 1×1 convolution where the channels
    change.

    Attributes:
      features: output channels.
      resample: None, ``"down"`` or ``"up"``, by 2 in height and width.
      activation: the nonlinearity.
      norm: ``"batch"``, ``"layer"`` or None.
      preactivate: begin the branch with the normalization and the nonlinearity; False for a block that reads an
        image, whose negative values a rectifier would cut off.
      last_init: initializer of the second convolution. A zero kernel has no direction, so spectral normalization
        needs another one.

    Reference: He et al., Identity Mappings in Deep Residual Networks, 2016.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = ResidualBlock(16, resample="down")
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 8, 8, 3)))
      >>> result.shape
      (4, 4, 4, 16)
    """

    features: int
    resample: Literal["down", "up"] | None = None
    activation: Activation = nn.relu
    norm: Norm = None
    preactivate: bool = True
    last_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """Map ``[examples, height, width, channels]`` to the resampled size and `features` channels."""
        h = self.activation(normalize(x, self.norm, train=train)) if self.preactivate else x
        h = Conv(self.features)(resampled(h, self.resample))
        h = self.activation(normalize(h, self.norm, train=train))
        h = Conv(self.features, kernel_init=self.last_init)(h)
        shortcut = resampled(x, self.resample)
        if x.shape[-1] != self.features:
            shortcut = Conv(self.features, 1, use_bias=False)(shortcut)
        return shortcut + h


class ResidualEncoder(nn.Module):
    """Images to features: a 3×3 convolution, then per entry of `channels` `blocks` residual blocks and a halving.

    The first parent is the image; further parents are flattened and put beside the features.

    Attributes:
      channels: channels at each size.
      blocks: residual blocks at each size, the last of which halves height and width.
      activation: the nonlinearity.
      norm: ``"batch"``, ``"layer"`` or None.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, DiagonalNormal, ResidualEncoder
      >>> network = Conditional(ResidualEncoder((32, 64)), DiagonalNormal((16,)))
      >>> print(vifx.factor("z | x", network, name="encoder"))
      encoder(z | x)
    """

    channels: Sequence[int] = (32, 64)
    blocks: int = 1
    activation: Activation = nn.relu
    norm: Norm = None

    @nn.compact
    def __call__(self, image: Array, *parents: Array, train: bool = False) -> Array:
        """Map images ``[examples, height, width, channels]``, even at each halving, to ``[examples, features]``."""
        check_image(image)
        h = Conv(self.channels[0])(image)
        for width in self.channels:
            for index in range(self.blocks):
                resample = "down" if index == self.blocks - 1 else None
                h = ResidualBlock(width, resample, self.activation, self.norm)(h, train=train)
        return join(self.activation(normalize(h, self.norm, train=train)), *parents)


class ResidualDecoder(nn.Module):
    """Vectors to feature maps of an image's size: a dense layer, then residual blocks that double the size.

    Attributes:
      size: height and width of the image, divisible by ``2 ** len(channels)``.
      channels: channels at each size, from small to large.
      blocks: residual blocks at each size, the first of which doubles height and width.
      activation: the nonlinearity.
      norm: ``"batch"``, ``"layer"`` or None.

    Example:
      >>> import vifx
      >>> from vifx.networks import BernoulliHead, Conditional, ResidualDecoder
      >>> network = Conditional(ResidualDecoder((8, 8), (32, 16)), BernoulliHead((8, 8, 1)))
      >>> print(vifx.factor("x | z", network, name="decoder"))
      decoder(x | z)
    """

    size: tuple[int, int]
    channels: Sequence[int] = (64, 32)
    blocks: int = 1
    activation: Activation = nn.relu
    norm: Norm = None

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map parents ``[examples, ...]`` to ``[examples, height, width, channels]``."""
        h = seed(join(*parents), self.size, self.channels)
        for width in self.channels:
            for index in range(self.blocks):
                resample = "up" if index == 0 else None
                h = ResidualBlock(width, resample, self.activation, self.norm)(h, train=train)
        return self.activation(normalize(h, self.norm, train=train))


def resampled(x: Array, resample: Literal["down", "up"] | None) -> Array:
    """Average 2×2 pixels, repeat each pixel in 2×2, or leave the images.

    Raises:
      ValueError: if images to halve have an odd height or width.
    """
    examples, height, width, channels = x.shape
    match resample:
        case None:
            return x
        case "up":
            return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        case "down":
            if height % 2 or width % 2:
                raise ValueError(
                    f"images of {height}×{width} pixels cannot be halved; use fewer entries of channels, or pad them"
                )
            return x.reshape(examples, height // 2, 2, width // 2, 2, channels).mean((2, 4))
    raise ValueError(f"resample must be None, 'down' or 'up', got {resample!r}")
