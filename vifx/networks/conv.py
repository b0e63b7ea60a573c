"""Small convolutional encoders and decoders for images of 8×8, 28×28, 32×32 and the like."""

from __future__ import annotations

__all__ = ["ConvDecoder", "ConvEncoder", "check_image", "seed"]

from collections.abc import Sequence

import flax.linen as nn

from vifx.core.types import Array
from vifx.networks.convolution import Conv, ConvTranspose
from vifx.networks.layers import LECUN, Activation, Initializer, Norm, join, normalize


class ConvEncoder(nn.Module):
    """Images to features: per entry of `channels` one 4×4 convolution of stride 2, then the map flattened.

    The first parent is the image; further parents are flattened and put beside the features.

    Attributes:
      channels: output channels of each layer; each halves the height and width, rounded up.
      activation: the nonlinearity.
      norm: ``"batch"``, ``"layer"`` or None.

    Example:
      >>> import vifx
      >>> from vifx.networks import Conditional, ConvEncoder, DiagonalNormal
      >>> network = Conditional(ConvEncoder((32, 64)), DiagonalNormal((16,)))
      >>> print(vifx.factor("z | x", network, name="encoder"))
      encoder(z | x)
    """

    channels: Sequence[int] = (32, 64)
    activation: Activation = nn.relu
    norm: Norm = None

    @nn.compact
    def __call__(self, image: Array, *parents: Array, train: bool = False) -> Array:
        """Map images ``[examples, height, width, channels]`` to ``[examples, features]``."""
        check_image(image)
        h = image
        for width in self.channels:
            h = self.activation(normalize(Conv(width, 4, stride=2)(h), self.norm, train=train))
        return join(h, *parents)


class ConvDecoder(nn.Module):
    """Vectors to feature maps of an image's size: a dense layer, then per entry of `channels` an upsampling by 2.

    A head maps the last feature map to parameters pixel by pixel.

    Attributes:
      size: height and width of the image, divisible by ``2 ** len(channels)``.
      channels: channels after each 4×4 transposed convolution of stride 2; the small map before the first has
        ``channels[0]`` too.
      activation: the nonlinearity.
      norm: ``"batch"``, ``"layer"`` or None.

    Example:
      >>> import vifx
      >>> from vifx.networks import BernoulliHead, Conditional, ConvDecoder
      >>> network = Conditional(ConvDecoder((8, 8), (32, 16)), BernoulliHead((8, 8, 1)))
      >>> print(vifx.factor("x | z", network, name="decoder"))
      decoder(x | z)
    """

    size: Sequence[int]
    channels: Sequence[int] = (64, 32)
    activation: Activation = nn.relu
    norm: Norm = None

    @nn.compact
    def __call__(self, *parents: Array, train: bool = False) -> Array:
        """Map parents ``[examples, ...]`` to ``[examples, height, width, channels]``."""
        h = seed(join(*parents), self.size, self.channels)
        h = self.activation(normalize(h, self.norm, train=train))
        for width in self.channels:
            h = self.activation(normalize(ConvTranspose(width)(h), self.norm, train=train))
        return h


def seed(
    features: Array,
    size: Sequence[int],
    channels: Sequence[int],
    *,
    use_bias: bool = True,
    kernel_init: Initializer = LECUN,
) -> Array:
    """Map features by a dense layer to the small map from which a decoder grows an image.

    To be called inside a compact module. The map has ``size / 2 ** len(channels)`` pixels and ``channels[0]``
    channels.

    Args:
      features: ``[examples, features]``.

    Raises:
      ValueError: if the size is not divisible.
    """
    factor = 2 ** len(channels)
    if not channels or any(pixels % factor for pixels in size):
        raise ValueError(
            f"size {tuple(size)} must be divisible by 2 ** len(channels) = {factor}, with at least one entry of "
            f"channels; choose fewer or more of channels {tuple(channels)}"
        )
    height, width = (pixels // factor for pixels in size)
    dense = nn.Dense(height * width * channels[0], use_bias=use_bias, kernel_init=kernel_init)
    return dense(features).reshape(-1, height, width, channels[0])


def check_image(image: Array) -> None:
    """Raise ValueError unless the first parent is ``[examples, height, width, channels]``."""
    if image.ndim != 4:
        raise ValueError(
            f"the first parent must be images [examples, height, width, channels], but has shape {image.shape}"
        )
    join(image)
