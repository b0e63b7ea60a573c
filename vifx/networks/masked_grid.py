"""Masked gated convolutions over a grid of symbols in raster order."""

from __future__ import annotations

__all__ = ["MaskedGrid"]

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp

from vifx.checks import require_integer, require_widths
from vifx.core.types import Array
from vifx.networks.convolution import Conv
from vifx.networks.layers import join


class MaskedGrid(nn.Module):
    """A body for `autoregressive` over a grid of symbols in raster order: a gated PixelCNN.

    A vertical stack sees all the rows above, a horizontal one what is to the left in its own row, and reads the
    vertical one; together they have no blind spot. Each layer is gated, ``Y = X + σ(G)(C − X)``, as `GatedConv` is. An
    output sees ``depth · (width − 1)`` rows above its own, and everything of its own row within as many columns.

    Attributes:
      classes: how many symbols can follow.
      grid: height and width.
      features: numbers per place.
      depth: how many layers.
      width: taps of the kernels, odd, at least 3.

    Raises:
      ValueError: if a number is out of range, or the width is even.

    References:
      van den Oord et al. (2016), Conditional image generation with PixelCNN decoders, arXiv:1606.05328.

    Example:
      >>> from vifx import networks
      >>> body = networks.MaskedGrid(64, (7, 7), features=16)
      >>> prior = networks.autoregressive(body, length=49, classes=64)
      >>> import vifx
      >>> print(vifx.factor("k", prior, name="prior"))
      prior(k)
    """

    classes: int
    grid: Sequence[int]
    features: int = 64
    depth: int = 4
    width: int = 3

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("classes", "features", "depth"):
            require_integer(getattr(self, name), f"MaskedGrid: {name}")
        if len(require_widths(self.grid, "MaskedGrid: grid")) != 2:
            raise ValueError(f"MaskedGrid: grid must be height and width, got {tuple(self.grid)}")
        if require_integer(self.width, "MaskedGrid: width", least=3) % 2 == 0:
            raise ValueError(f"MaskedGrid: width must be odd, got {self.width}")
        super().__post_init__()

    @nn.compact
    def __call__(self, symbols: Array, *parents: Array) -> Array:
        """Map symbols ``0 … classes + 1``, moved by one place, and parents to ``[examples, length, classes]``."""
        rows, reach = symbols.shape[0], self.width // 2
        x = nn.Embed(self.classes + 2, self.features)(symbols).reshape(rows, *self.grid, self.features)
        if parents:
            z = nn.Dense(self.features)(join(*parents))
            x = x + jnp.broadcast_to(z[:, None, None], x.shape)
        # The symbol at a place is the one before it, so that what is here, to the left and above may be seen.
        above = left = x
        for _ in range(self.depth):
            # Rows above alone: the padding moves the image down by one.
            vertical = ((self.width - 1, 0), (reach, reach))
            both = Conv(2 * self.features, (self.width, self.width), padding=vertical)(above)
            down = jnp.pad(both, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
            horizontal = ((0, 0), (self.width - 1, 0))
            row = Conv(2 * self.features, (1, self.width), padding=horizontal)(left)
            row = row + nn.Dense(2 * self.features, use_bias=False)(down)
            above, left = _gated(above, both), _gated(left, row)
        return nn.Dense(self.classes)(left.reshape(rows, -1, self.features))


def _gated(x: Array, both: Array) -> Array:
    content, gate = jnp.split(both, 2, axis=-1)
    return x + nn.sigmoid(gate) * (content - x)
