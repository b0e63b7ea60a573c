"""Residual generators and critics, as they are used with spectral normalization.

The normalization is not a layer: it acts on the parameters, from outside. So the critic has kernels and biases
alone, none of them zero at the start.
"""

from __future__ import annotations

__all__ = ["SNResNetCritic", "SNResNetFeatures", "SNResNetGenerator"]

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.networks.conv import check_image, seed
from vifx.networks.convolution import Conv
from vifx.networks.critics import logit
from vifx.networks.inputs import enter
from vifx.networks.layers import LECUN, Activation, Norm, join, normalize
from vifx.networks.residual_blocks import ResidualBlock, resampled


class SNResNetGenerator(nn.Module):
    """Latents to images in [−1, 1]: a dense layer, residual blocks that double the size, a 3×3 convolution.

    Attributes:
      size: height and width of the images, divisible by ``2 ** len(channels)``.
      channels: channels at each size, from small to large: ``(128, 128)`` grows 7×7 to 28×28, ``(256, 256, 256)``
        4×4 to 32×32.
      outputs: channels of the image.
      norm: ``"batch"``, ``"layer"`` or None.
      activation: the nonlinearity.
      final: the map to pixels.
      inputs: one input layer per parent, as in `Conditional`; empty when none needs one.

    Reference: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = SNResNetGenerator((8, 8), (16, 8))
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 16)))
      >>> result.shape
      (4, 8, 8, 1)
    """

    size: Sequence[int] = (28, 28)
    channels: Sequence[int] = (128, 128)
    outputs: int = 1
    norm: Norm = "batch"
    activation: Activation = nn.relu
    final: Activation = jnp.tanh
    inputs: Sequence[nn.Module | None] = ()

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map parents ``[examples, ...]`` to images ``[examples, height, width, outputs]``."""
        h = seed(join(*enter(self.inputs, parents)), self.size, self.channels)
        for width in self.channels:
            h = ResidualBlock(width, "up", self.activation, self.norm, last_init=LECUN)(h, train=train)
        h = self.activation(normalize(h, self.norm, train=train))
        return self.final(Conv(self.outputs)(h))


class SNResNetFeatures(nn.Module):
    """Images to features: residual blocks, each followed by an average over 2×2 pixels, and a sum over all pixels.

    The first block reads the image itself, without a rectifier before its first convolution. Averages follow the
    convolutions, so that no pattern of single pixels escapes the critic.

    Attributes:
      channels: channels at each size, each followed by a halving of height and width.
      blocks: further residual blocks at the last size.
      activation: the nonlinearity.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = SNResNetFeatures((8, 16))
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 8, 8, 1)))
      >>> result.shape
      (4, 16)
    """

    channels: Sequence[int] = (128, 128)
    blocks: int = 2
    activation: Activation = nn.relu

    @nn.compact
    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Map images ``[examples, height, width, channels]``, even at each halving, to ``[examples, channels[-1]]``."""
        check_image(image)
        h = image
        for index, width in enumerate(self.channels):
            block = ResidualBlock(width, None, self.activation, preactivate=index > 0, last_init=LECUN)
            h = resampled(block(h, train=train), "down")
        for _ in range(self.blocks):
            h = ResidualBlock(self.channels[-1], None, self.activation, last_init=LECUN)(h, train=train)
        return jnp.sum(self.activation(h), axis=(1, 2))


class SNResNetCritic(nn.Module):
    """One logit of an image: `SNResNetFeatures` and a dense layer, ``[examples, h, w, c] → [examples]``.

    Labels enter by ``ProjectionCritic(SNResNetFeatures(), classes)``.

    Attributes:
      channels: channels at each size, each followed by a halving of height and width.
      blocks: further residual blocks at the last size.
      activation: the nonlinearity.
      inputs: one input layer per parent, as in `Conditional`; empty when none needs one.

    Reference: as `SNResNetGenerator`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = SNResNetCritic((8, 16))
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((4, 8, 8, 1)))
      >>> result.shape
      (4,)
    """

    channels: Sequence[int] = (128, 128)
    blocks: int = 2
    activation: Activation = nn.relu
    inputs: Sequence[nn.Module | None] = ()

    @nn.compact
    def __call__(self, image: Array, *, train: bool = False) -> Array:
        """Map images ``[examples, height, width, channels]`` to logits ``[examples]``, a log-ratio in nats."""
        (image,) = enter(self.inputs, (image,))
        return logit(SNResNetFeatures(self.channels, self.blocks, self.activation)(image, train=train))
