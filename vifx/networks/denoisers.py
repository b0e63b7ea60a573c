"""Denoisers: networks of a noisy value, the level of the noise and conditions, that return the value's shape."""

from __future__ import annotations

__all__ = ["PointDenoiser", "UNet", "time_features"]

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from vifx.checks import require_number
from vifx.core.types import Array
from vifx.networks.conv import check_image
from vifx.networks.convolution import Conv, depth_to_space, space_to_depth
from vifx.networks.layers import join
from vifx.networks.residual_blocks import resampled

_ZEROS = nn.initializers.zeros_init()


def time_features(t: Array, count: int) -> Array:
    """Return sines and cosines of times in [0, 1], ``[rows, 1]``, at geometric frequencies: ``[rows, count]``.

    The frequencies go from half a period in [0, 1] to 500 periods, which tells times apart that differ by a thousandth.

    Args:
      t: ``[rows, 1]``.
      count: an even number.

    Raises:
      ValueError: if `count` is not even and positive.

    Reference: Ho, Jain & Abbeel (2020), arXiv:2006.11239.
    """
    if count < 2 or count % 2:
        raise ValueError(f"time_features: count must be an even number, sines and cosines, got {count}")
    rates = jnp.exp(jnp.linspace(math.log(math.pi), math.log(1000 * math.pi), count // 2, dtype=t.dtype))
    angles = t * rates[None]
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


class PointDenoiser(nn.Module):
    """A denoiser of vectors: dense layers, each scaled and shifted by the level of the noise and the conditions.

    ``h ← silu((h W + b) (1 + s) + m)``, s and m affine in features of the level and the flattened conditions; the last
    layer is zero at first. `vifx.diffusion.reverse` calls it, as ``(z, t, *parents)`` or, where conditions can be
    dropped, as ``(z, t, *parents, kept)``: give it one-hot labels, and `conditions_dropped` there.

    Attributes:
      features: widths of the hidden layers.
      times: how many sines and cosines of the level.
      conditions_dropped: whether the last parent says where the others count, ``[rows, 1]``; they are multiplied by it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = PointDenoiser((64, 64))
      >>> result, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), jnp.ones((5, 2)), jnp.ones((5, 1)))
      >>> result.shape
      (5, 2)
    """

    features: Sequence[int] = (128, 128, 128)
    times: int = 32
    conditions_dropped: bool = False

    @nn.compact
    def __call__(self, z: Array, t: Array, *parents: Array) -> Array:
        """Map ``z [rows, *event]``, ``t [rows, 1]`` and conditions to ``[rows, *event]``."""
        told = [time_features(t, self.times).astype(z.dtype)]
        if self.conditions_dropped:
            *others, kept = parents
            told += [kept, *(join(parent) * kept for parent in others)]
        else:
            told += [join(parent) for parent in parents]
        context = nn.silu(nn.Dense(self.features[0])(jnp.concatenate(told, axis=1)))
        h = join(z)
        for width in self.features:
            scale, shift = jnp.split(nn.Dense(2 * width)(context), 2, axis=1)
            h = nn.silu(nn.Dense(width)(h) * (1 + scale) + shift)
        return nn.Dense(z[0].size, kernel_init=_ZEROS)(h).reshape(z.shape)


class UNet(nn.Module):
    """A denoiser of images: residual blocks at falling and rising resolution, with attention at the lowest one.

    A block is ``x + conv(silu(norm(conv(silu(norm(x))) (1 + s) + m)))`` in 3×3 convolutions and group norms, s and m
    affine in features of the level of the noise and of the class. Between resolutions images are averaged over 2×2
    pixels and repeated; what a resolution had on the way down stands beside what it has on the way up. The last
    convolution, zero at first, gives each pixel weights for 1, for its own z and for its waves, and their weighted sum
    is the result, so that noise below one shade can be read off the pixel itself.
    `vifx.diffusion.reverse` calls it, as ``(z, t)``, ``(z, t, y)`` with classes, or
    ``(z, t, y, kept)`` where these can be dropped.

    Attributes:
      channels: at each resolution, from the image's own to the lowest; height and width are divisible by
        ``patch 2 ** (len(channels) − 1)``.
      blocks: at each resolution, down and up.
      heads: of the attention; channels are divisible by it.
      classes: of labels ``y``, integers ``[rows]``, how many there are; None without labels.
      waves: n of ``sin n π z`` and ``cos n π z`` beside z, n waves from −1 to 1, which show what is finer than a shade
        (Kingma et al., 2021); none by default. S shades have S − 1 steps from black to white: with n = S − 1 every
        shade is at the same place of its wave, so that one convolution finds how far z is from the nearest one.
      patch: height and width of the patches of pixels that are the channels of the first resolution: 2 is four times as
        fast as 1.

    References: Ronneberger, Fischer & Brox (2015), U-Net, arXiv:1505.04597; Ho, Jain & Abbeel (2020), arXiv:2006.11239.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = UNet((16, 32))
      >>> z, t = jnp.ones((5, 8, 8, 1)), jnp.ones((5, 1))
      >>> jax.eval_shape(network.init_with_output, jax.random.key(0), z, t)[0].shape
      (5, 8, 8, 1)
    """

    channels: Sequence[int] = (32, 64)
    blocks: int = 1
    heads: int = 4
    classes: int | None = None
    waves: Sequence[float] = ()
    patch: int = 1

    def __post_init__(self) -> None:
        """Check the waves."""
        for count in self.waves:
            require_number(count, "UNet: waves", above=0)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Array, t: Array, *parents: Array) -> Array:
        """Map images ``z [rows, height, width, channels]``, ``t [rows, 1]`` and labels to z's shape.

        Raises:
          ValueError: if z is not an image, or its size is not divisible.
        """
        check_image(z)
        factor = self.patch * 2 ** (len(self.channels) - 1)
        if z.shape[1] % factor or z.shape[2] % factor:
            raise ValueError(
                f"images of {z.shape[1]}×{z.shape[2]} pixels cannot be halved {len(self.channels) - 1} times in "
                f"patches of {self.patch}; use fewer entries of channels, or pad them"
            )
        context = self._context(t.astype(z.dtype), parents)
        waves = [wave(n * math.pi * z) for n in self.waves for wave in (jnp.sin, jnp.cos)]
        patches = (self.patch, self.patch)
        h = Conv(self.channels[0])(space_to_depth(jnp.concatenate([z, *waves], axis=-1), patches))
        kept = [h]
        for depth, width in enumerate(self.channels):
            h = resampled(h, "down") if depth else h
            for _ in range(self.blocks):
                h = _Block(width)(h, context)
                kept.append(h)
        h = _Attention(self.heads)(h)
        h = _Block(self.channels[-1])(h, context)
        for depth, width in reversed(list(enumerate(self.channels))):
            for _ in range(self.blocks):
                h = _Block(width)(jnp.concatenate([h, kept.pop()], axis=-1), context)
            h = resampled(h, "up") if depth else h
        h = jnp.concatenate([h, kept.pop()], axis=-1)
        told = jnp.stack([jnp.ones_like(z), z, *waves], axis=-1)
        h = Conv(self.patch**2 * told[0, 0, 0].size, kernel_init=_ZEROS)(nn.silu(_normalized(h)))
        return jnp.sum(depth_to_space(h, patches).reshape(told.shape) * told, axis=-1)

    def _context(self, t: Array, parents: Sequence[Array]) -> Array:
        """Return the features of the level and the class, ``[rows, width]``."""
        width = 2 * self.channels[-1]
        context = nn.Dense(width)(nn.silu(nn.Dense(width)(time_features(t, 64))))
        if self.classes is not None:
            label, *kept = parents
            told = nn.Embed(self.classes, width)(label)
            context = context + (told * kept[0] if kept else told)
        return nn.silu(context)


class _Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: Array, context: Array) -> Array:
        h = Conv(self.features)(nn.silu(_normalized(x)))
        scale, shift = jnp.split(nn.Dense(2 * self.features)(context)[:, None, None], 2, axis=-1)
        h = _normalized(h) * (1 + scale) + shift
        h = Conv(self.features, kernel_init=_ZEROS)(nn.silu(h))
        return h + (x if x.shape[-1] == self.features else Conv(self.features, 1, use_bias=False)(x))


class _Attention(nn.Module):
    heads: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        places = _normalized(x).reshape(x.shape[0], -1, x.shape[-1])
        found = nn.MultiHeadDotProductAttention(self.heads, out_kernel_init=_ZEROS)(places)
        return x + found.reshape(x.shape)


def _normalized(x: Array) -> Array:
    """Normalize groups of channels, at most eight of them, over the pixels."""
    return nn.GroupNorm(math.gcd(8, x.shape[-1]))(x)
