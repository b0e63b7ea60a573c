"""Gated convolutions over sequences of several lengths: a layer and a stack of them."""

from __future__ import annotations

__all__ = ["GatedConv", "GatedStack", "check_sequences", "masked"]

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.types import Array
from vifx.networks.convolution import Conv


class GatedConv(nn.Module):
    """``Y = X (1 − σ) + C(X) σ`` with ``σ = sigmoid(G(X))``: a gate chooses, for each number, the input or the new.

    C and G are convolutions over the positions of a sequence, computed as one product. Since
    ``Y = X + (C(X) − X) σ``, it is a residual layer whose convolution C − 1 is gated. Positions outside of the mask are
    set to zero before the convolution, so that nothing passes from them to the others. Where the input has another
    width than `features`, a learned affine map of it takes its place in the sum.

    Attributes:
      features: numbers per position of the output.
      width: taps of the kernel.
      dilation: step between the taps, in positions.
      causal: whether an output sees no later position than its own; otherwise the taps are centred.
      noise: a, with which the gate is ``sigmoid(G(X) (1 + ε))``, ε uniform on [−a, a], in training.
      dropout: the probability with which a number of G(X) is replaced by 0 in training; the others are divided by
        one minus it.
      gated: whether there is a gate; otherwise ``Y = X + relu(C(X))``, for comparison.

    Raises:
      ValueError: if one of them is out of its range.

    Reference: Dauphin et al., Language Modeling with Gated Convolutional Networks, 2017, for the gate.

    >>> layer = GatedConv(64, dilation=2, noise=0.1)
    """

    features: int
    width: int = 3
    dilation: int = 1
    causal: bool = False
    noise: float = 0.0
    dropout: float = 0.0
    gated: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("features", "width", "dilation"):
            require_integer(getattr(self, name), f"{name} of a gated convolution")
        for name in ("noise", "dropout"):
            require_number(getattr(self, name), f"{name} of a gated convolution", least=0, below=1)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, *, train: bool = False) -> Array:
        """Map ``[examples, length, channels]`` to ``[examples, length, features]``; outputs at padding are meaningless.

        Args:
          x: the sequences.
          mask: which positions exist, booleans ``[examples, length]``; None for all.
          train: whether the gate has noise.
        """
        check_sequences(x, mask)
        x = masked(x, mask)
        reach = self.dilation * (self.width - 1)
        before = reach if self.causal else reach // 2
        both = Conv(
            2 * self.features if self.gated else self.features,
            (1, self.width),
            padding=((0, 0), (before, reach - before)),
            dilation=(1, self.dilation),
            name="convolution",
        )(x[:, None])[:, 0]
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, name="projection")(x)
        if not self.gated:
            return x + nn.relu(both)
        content, gate = jnp.split(both, 2, axis=-1)
        if train and self.noise > 0:
            drawn = jax.random.uniform(
                self.make_rng("noise"), gate.shape, gate.dtype, minval=1 - self.noise, maxval=1 + self.noise
            )
            gate = gate * drawn
        gate = nn.Dropout(self.dropout, deterministic=not train)(gate)
        return x + nn.sigmoid(gate) * (content - x)


class GatedStack(nn.Module):
    """Gated convolutions one after the other, one for each dilation: ``[examples, length, channels] → […, features]``.

    With dilations d an output sees ``1 + (width − 1) Σ d`` positions. Arrays of one shape give the same bits whatever
    stands at padding. So do longer arrays with more padding where a row of a matrix product does not depend on how many
    rows there are: on CPUs, but for tiny products; on GPUs they are equal up to rounding.

    Attributes:
      features: numbers per position, of every layer.
      dilations: of each layer, from the first on.
      width: taps of the kernels.
      causal: whether outputs see no later positions, as decoders need whose input is the sequence moved by one.
      noise: a of the uniform noise on the gates, in training.
      dropout: of the gates, in training.
      gated: whether there are gates; otherwise a layer is ``Y = X + relu(C(X))``, for comparison.

    Raises:
      ValueError: if there is no layer, or a number is out of its range.

    >>> body = GatedStack(64, dilations=(1, 2, 4, 8, 16, 1))
    """

    features: int
    dilations: Sequence[int] = (1, 2, 4, 8, 16, 1)
    width: int = 3
    causal: bool = False
    noise: float = 0.0
    dropout: float = 0.0
    gated: bool = True

    def __post_init__(self) -> None:
        """Check that there is a layer."""
        if not self.dilations:
            raise ValueError("dilations of a stack must have one entry a layer, but is empty; (1, 2, 4) makes three")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, mask: Array | None = None, *, train: bool = False) -> Array:
        """Apply the layers; outputs at padding are 0.

        Args:
          x: the sequences.
          mask: which positions exist, booleans ``[examples, length]``; None for all.
          train: whether the gates have noise.
        """
        for dilation in self.dilations:
            layer = GatedConv(self.features, self.width, dilation, self.causal, self.noise, self.dropout, self.gated)
            x = layer(x, mask, train=train)
        return masked(x, mask)


def masked(x: Array, mask: Array | None) -> Array:
    """Return sequences with zeros at the positions outside of the mask.

    Args:
      x: ``[examples, length, channels]``.
      mask: booleans ``[examples, length]``; None for all.
    """
    return x if mask is None else jnp.where(mask[..., None], x, 0)


def check_sequences(x: Array, mask: Array | None) -> None:
    """Raise ValueError unless x is ``[examples, length, channels]`` and the mask booleans ``[examples, length]``."""
    if x.ndim != 3 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"x must be sequences of floats [examples, length, channels], got {x.dtype}{list(x.shape)}; embed "
            "tokens, flax.linen.Embed(words, channels)"
        )
    if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != jnp.bool_):
        raise ValueError(
            f"mask must be booleans {list(x.shape[:2])}, one for each position, got {mask.dtype}{list(mask.shape)}; "
            "of padded tokens it is tokens != 0"
        )
