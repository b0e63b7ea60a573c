"""Decoders of sequences of symbols: each symbol given those before it, and the parents."""

from __future__ import annotations

__all__ = ["GatedSymbols", "autoregressive"]

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import Autoregressive
from vifx.networks.gated import GatedStack
from vifx.networks.layers import join


class GatedSymbols(nn.Module):
    """Causal gated convolutions over symbols: what a decoder by `autoregressive` makes of the symbols and the parents.

    A learned vector for every symbol, plus an affine map of the parents at every place, then a causal `GatedStack`, and
    an affine map to logits.

    Attributes:
      classes: how many symbols can follow.
      features: numbers per place.
      dilations: of each layer, from the first on; an output sees ``1 + (width − 1) Σ dilations`` symbols.
      width: taps of the kernels.

    Example:
      >>> from vifx import networks
      >>> body = networks.GatedSymbols(30, features=16, dilations=(1, 2, 4))
      >>> decoder = networks.autoregressive(body, length=64, classes=30)
      >>> import vifx
      >>> print(vifx.factor("x | z", decoder, name="decoder"))
      decoder(x | z)
    """

    classes: int
    features: int = 64
    dilations: Sequence[int] = (1, 2, 4, 8, 16)
    width: int = 3

    @nn.compact
    def __call__(self, symbols: Array, *parents: Array, train: bool = False) -> Array:
        """Map symbols ``0 … classes + 1`` ``[examples, length]`` and parents to ``[examples, length, classes]``."""
        x = nn.Embed(self.classes + 2, self.features)(symbols)
        if parents:
            z = nn.Dense(self.features)(join(*parents))
            x = x + jnp.broadcast_to(z[:, None], x.shape)
        x = GatedStack(self.features, self.dilations, self.width, causal=True)(x, train=train)
        return nn.Dense(self.classes)(x)


def autoregressive(body: Any, *, length: int, classes: int, dropout: float = 0.0) -> Net:
    """A network of the parents whose output is `vifx.distributions.Autoregressive`: a factor ``"x | z"``, or ``"x"``.

    The body reads the sequence moved by one place, with the symbol `classes` in front of it, and so returns the logits
    of each symbol from those before it. In training each symbol that it reads, but the one in front, is replaced by the
    symbol ``classes + 1`` with the probability `dropout`: word dropout. The loss is then that of a decoder that knows
    less of what was before, an upper bound of nothing; what is evaluated has no dropout.

    Args:
      body: a `Net`, Linen or NNX module without state that training changes, from symbols ``0 … classes + 1``, integers
        ``[examples, length]``, and parents ``[examples, ...]`` to ``[examples, length, classes]``, causal: what it
        returns at a place depends on symbols up to that place alone. `GatedSymbols` is one.
      length: the symbols of a sequence.
      classes: how many symbols there are.
      dropout: the probability with which a symbol that is read is dropped in training.

    Raises:
      ValueError: a number is out of its range; or, where it is used, the body returns another shape.

    Reference: Bowman et al. (2016), Generating sentences from a continuous space, arXiv:1511.06349.
    """
    for name, number in (("length", length), ("classes", classes)):
        require_integer(number, f"autoregressive: {name}")
    require_number(dropout, "autoregressive: dropout", least=0, below=1)
    net = as_net(body)

    def moved(symbols: Array) -> Array:
        return jnp.pad(symbols, ((0, 0), (1, 0)), constant_values=classes)[:, :-1]

    def init(key: Key, *parents: Array) -> tuple[PyTree, PyTree]:
        examples = parents[0].shape[0] if parents else 1
        return net.init(key, jnp.zeros((examples, length), jnp.int32), *parents)

    def apply(
        params: PyTree, state: PyTree, *parents: Array, key: Key | None = None, train: bool = False
    ) -> tuple[Autoregressive, PyTree]:
        hides = train and dropout > 0
        if hides and key is None:
            raise ValueError(f"autoregressive: dropout={dropout:g} draws noise in training mode; pass key=.")
        body_key = None if key is None else jax.random.fold_in(key, 0)

        def logits(read: Array) -> Array:
            copies = read.shape[0] // parents[0].shape[0] if parents else 1
            tiled = [jnp.tile(each, (copies,) + (1,) * (each.ndim - 1)) for each in parents]
            found, _ = net.apply(params, state, read, *tiled, key=body_key, train=train)
            if found.shape != (*read.shape, classes):
                raise ValueError(
                    f"autoregressive: body returned logits {list(found.shape)} for symbols {list(read.shape)}, expected"
                    f" {[*read.shape, classes]}, one for each of classes={classes}."
                )
            return found

        def dropped(key: Key, symbols: Array) -> Array:
            drop = jax.random.bernoulli(jax.random.fold_in(key, 1), dropout, (symbols.shape[0], length - 1))
            hidden = jnp.pad(drop, ((0, 0), (1, 0)))
            return logits(jnp.where(hidden, classes + 1, moved(symbols)))

        examples = parents[0].shape[0] if parents else None
        in_training = partial(dropped, key) if hides and key is not None else None
        return Autoregressive(lambda symbols: logits(moved(symbols)), examples, length, classes, in_training), state

    return Net(init, apply)
