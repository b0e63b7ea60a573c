"""Recurrent networks as transitions with a memory of all values before."""

from __future__ import annotations

__all__ = ["gru", "lstm", "recurrent", "vanilla"]

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vifx.checks import require, require_integer
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, PyTree
from vifx.distributions.transition import Transition
from vifx.networks.inputs import enter
from vifx.networks.layers import join


def vanilla(features: int) -> nn.SimpleCell:
    """The recurrent cell ``h_t = tanh(W h_{t−1} + U u_t + b)``, Flax's `linen.SimpleCell`.

    Args:
      features: the numbers of its memory.

    Raises:
      ValueError: `features` is not positive.
    """
    return nn.SimpleCell(require_integer(features, "vanilla: features"), parent=None)


def gru(features: int) -> nn.GRUCell:
    """The gated recurrent unit, Flax's `linen.GRUCell`.

    ``r, z = σ(W h_{t−1} + U u_t + b)``, ``n = tanh(U u_t + b + r (W h_{t−1} + c))``, ``h_t = (1 − z) n + z h_{t−1}``.

    Args:
      features: the numbers of its memory.

    Raises:
      ValueError: `features` is not positive.

    Reference: Cho et al. (2014), arXiv:1406.1078.
    """
    return nn.GRUCell(require_integer(features, "gru: features"), parent=None)


def lstm(features: int) -> nn.OptimizedLSTMCell:
    """The long short-term memory, Flax's `linen.OptimizedLSTMCell`.

    ``i, f, o = σ(W h_{t−1} + U u_t + b)``, ``g = tanh(W h_{t−1} + U u_t + b)``, ``c_t = f c_{t−1} + i g``,
    ``h_t = o tanh(c_t)``.

    Args:
      features: the numbers of h, and of c.

    Raises:
      ValueError: `features` is not positive.

    Reference: Hochreiter & Schmidhuber (1997), Long short-term memory.
    """
    return nn.OptimizedLSTMCell(require_integer(features, "lstm: features"), parent=None)


def recurrent(cell: Any, head: Any, *, inputs: Sequence[nn.Module | None] = ()) -> Transition:
    """A transition that remembers: ``h_t = cell(h_{t−1}, [x_{t−1}, gap, given_t])``, ``x_t ~ head(h_t)``.

    ``chain(start, recurrent(gru(64), networks.DiagonalNormal((2,))), steps)`` is the autoregressive law
    ``q(x_1) Π_t q(x_t | x_1 … x_{t−1})``. The memory is zero before the first value is read; with the `times` of the
    chain the cell is told the gap from each value to the next. For a density the cell alone runs step by step: what it
    reads is made beforehand for all steps at once, and the head reads its memories of all steps at once.

    Args:
      cell: a cell of Flax, `linen.RNNCellBase`, such as `vanilla`, `gru` or `lstm`; or several, each of which reads
        what the one before returns.
      head: a `Net`, Linen or NNX module from features ``[rows, features]`` to the distribution of a value.
      inputs: one input layer for the value before, the gap if there is one, and each parent, in this order; None for
        what is used as it is; empty when none needs one. `vifx.networks.OneHot` is for symbols.

    Raises:
      TypeError: `cell` is not a cell, or `head` is not a network.
      ValueError: no cell at all; where it is used, not one input layer for each input.
    """
    cells = tuple(cell) if isinstance(cell, Sequence) else (cell,)
    if not cells:
        raise ValueError("recurrent: cell must be one or more cells, got none; give dynamics.gru(64).")
    for each in cells:
        require(each, nn.RNNCellBase, "recurrent: cell", "a cell of Flax", "dynamics.gru(64) is one")
    net, reader = as_net(head), _Reader(tuple(inputs))

    def init(key: Key, previous: Array, *told: Array) -> tuple[PyTree, PyTree]:
        noises = jax.random.split(key, len(cells) + 2)
        features, read = reader.init_with_output(noises[0], previous, *told)
        params = []
        for noise, each in zip(noises[2:], cells, strict=True):
            (_, features), own = each.init_with_output(noise, _empty(each, features), features)
            params.append(own.get("params", {}))
        of_head, state = net.init(noises[1], features)
        return {"inputs": read.get("params", {}), "cells": params, "head": of_head}, state

    def read(params: PyTree, state: PyTree, previous: Array, *told: Array) -> Array:
        del state
        found: Any = reader.apply({"params": params["inputs"]}, previous, *told)
        return found

    def begin(params: PyTree, state: PyTree, features: Array) -> PyTree:
        del state
        memories = []
        for own, each in zip(params["cells"], cells, strict=True):
            memories.append(_empty(each, features))
            after = jax.eval_shape(lambda x, own=own, each=each: _moved(each, own, _empty(each, x), x)[1], features)
            features = jnp.zeros(after.shape, after.dtype)
        return memories

    def advance(params: PyTree, state: PyTree, memories: PyTree, features: Array) -> tuple[PyTree, PyTree]:
        del state
        after = []
        for own, each, memory in zip(params["cells"], cells, memories, strict=True):
            memory, features = _moved(each, own, memory, features)
            after.append(memory)
        return after, features

    def law(params: PyTree, state: PyTree, features: Array, noise: Key | None, train: bool) -> Any:
        return net.apply(params["head"], state, features, key=noise, train=train)[0]

    return Transition(init, law, read, begin, advance)


class _Reader(nn.Module):
    """What a cell reads: the value before, the gap and the parents side by side, each by its input layer."""

    layers: Sequence[nn.Module | None]

    def __call__(self, *read: Array) -> Array:
        return join(*enter(self.layers, read))


def _empty(cell: nn.RNNCellBase, features: Array) -> PyTree:
    """Return the memory of a cell that has read nothing, for inputs like the features: zeros."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    shapes = jax.eval_shape(lambda key: cell.initialize_carry(key, features.shape), key)
    return jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)


def _moved(cell: nn.RNNCellBase, params: PyTree, memory: PyTree, features: Array) -> tuple[PyTree, Array]:
    moved: Any = cell.apply({"params": params}, memory, features)
    return moved
