"""Networks that follow from the shape of the data: convolutions for images, dense layers for rows and small images."""

from __future__ import annotations

__all__ = ["decoder_body", "encoder_body", "image_critic", "image_generator"]

from collections.abc import Sequence

import flax.linen as nn

from vifx.networks.conv import ConvDecoder, ConvEncoder
from vifx.networks.dcgan import DCGANCritic, DCGANGenerator
from vifx.networks.mlp import MLP

_SMALL = 16
_MOST_CHANNELS = 256


def encoder_body(shape: Sequence[int], hidden: Sequence[int]) -> nn.Module:
    """Return the body of an encoder of values of a shape.

    Images of 16×16 pixels or more go through 4×4 convolutions of stride 2 while the map stays 4 pixels wide at least;
    anything else through dense layers.

    Args:
      shape: (height, width, channels) of an image, or (columns,).
      hidden: widths of the dense layers.
    """
    channels = _convolutions(shape)
    return ConvEncoder(channels) if channels else MLP(hidden)


def decoder_body(shape: Sequence[int], hidden: Sequence[int]) -> nn.Module:
    """Return the body of a decoder to values of a shape: the mirror of `encoder_body`.

    Args:
      shape: (height, width, channels) of an image, or (columns,).
      hidden: widths of the dense layers.
    """
    channels = _convolutions(shape)
    return ConvDecoder(shape[:2], channels[::-1]) if channels else MLP(hidden)


def image_generator(shape: Sequence[int]) -> nn.Module:
    """Return a `DCGANGenerator` of images of a shape, whose height and width have to be divisible by 4.

    Raises:
      ValueError: if they are not.
    """
    return DCGANGenerator(shape[:2], _channels(shape, first=32)[::-1], outputs=shape[2])


def image_critic(shape: Sequence[int]) -> nn.Module:
    """Return a `DCGANCritic` of images of a shape, with as many layers as `image_generator` has.

    Raises:
      ValueError: as there.
    """
    return DCGANCritic(_channels(shape, first=64))


def _convolutions(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the channels of each convolution, none for dense layers."""
    if len(shape) != 3 or min(shape[:2]) < _SMALL or any(side % 4 for side in shape[:2]):
        return ()
    return _channels(shape, first=32)


def _channels(shape: Sequence[int], *, first: int) -> tuple[int, ...]:
    """Return the channels of layers that halve an image down to 4 pixels or more, but two layers at least."""
    if any(side % 4 for side in shape[:2]):
        raise ValueError(
            f"images must have a height and a width divisible by 4, got {shape[0]}×{shape[1]}; scale them, as with "
            f"data.Config(size={4 * max(1, round(min(shape[:2]) / 4))})"
        )
    depth = 2
    while all(side % 2 ** (depth + 1) == 0 and side // 2 ** (depth + 1) >= 4 for side in shape[:2]):
        depth += 1
    return tuple(min(first * 2**layer, _MOST_CHANNELS) for layer in range(depth))
