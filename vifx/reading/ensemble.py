"""Several readers as one: folds to train them on, and the mean of their probabilities."""

from __future__ import annotations

__all__ = ["ensemble", "folds", "stack_members"]

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from numpy.typing import NDArray

from vifx.checks import require_integer
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import Bernoulli, EachStep


def folds(size: int, count: int, *, seed: int) -> list[NDArray[np.intp]]:
    """Divide examples at random into `count` folds of nearly one size; each member is trained without one of them.

    Args:
      size: how many examples.
      count: how many folds.
      seed: seed of the draw.

    Returns:
      The indices of each fold, in increasing order.

    Raises:
      TypeError: if a number is not an integer.
      ValueError: if there are fewer than two folds, or more than examples.

    >>> [fold.tolist() for fold in folds(5, 2, seed=0)]
    [[1, 2, 4], [0, 3]]
    """
    require_integer(size, "size")
    require_integer(count, "count", least=2)
    if count > size:
        raise ValueError(f"count must be at most {size}, one example a fold, got {count}; take fewer folds")
    # RandomState because NumPy promises that its stream never changes.
    order = np.random.RandomState(require_integer(seed, "seed", least=0)).permutation(size)
    return [np.sort(order[i::count]) for i in range(count)]


def stack_members(members: Sequence[PyTree]) -> PyTree:
    """Stack the parameters (or states) of members along a new first axis, as `ensemble` takes them.

    Args:
      members: the parameters of each member, all of one structure.

    Raises:
      ValueError: if there is none.
    """
    if not members:
        raise ValueError("members must have the parameters of at least one reader, got none")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def ensemble(reader: Net | linen.Module, count: int) -> Net:
    """Return a network of `count` readers that run side by side, and answer with the mean of their probabilities.

    The parameters are those of the members along a first axis (`stack_members`). As a factor's network it has the
    density ``Π Bernoulli((1/K) Σ_k P_k)``, so that it is evaluated and asked like one reader.

    Args:
      reader: the network of every member.
      count: K.

    Raises:
      TypeError: if `count` is not an integer, or `reader` is not a network.
      ValueError: if `count` is not positive.
    """
    net = as_net(reader)
    require_integer(count, "count")

    def init(key: Key, *inputs: Array) -> tuple[PyTree, PyTree]:
        return jax.vmap(lambda key: net.init(key, *inputs))(jax.random.split(key, count))

    def apply(
        params: PyTree, state: PyTree, *inputs: Array, key: Key | None = None, train: bool = False
    ) -> tuple[EachStep, PyTree]:
        keys = None if key is None else jax.random.split(key, count)

        def one(params: PyTree, state: PyTree, key: Key | None) -> tuple[EachStep, PyTree]:
            return net.apply(params, state, *inputs, key=key, train=train)

        each, state = jax.vmap(one, in_axes=(0, 0, None if keys is None else 0))(params, state, keys)
        # log Σ P and log Σ (1 − P), so that certainty does not round to infinite logits.
        logits = each.each.base_dist.logits
        sides = (jax.nn.logsumexp(jax.nn.log_sigmoid(side), axis=0) for side in (logits, -logits))
        mean = jnp.subtract(*sides)
        lengths = None if each.lengths is None else each.lengths[0]
        return EachStep(Bernoulli(mean).to_event(1), each.length, lengths=lengths), state

    return Net(init, apply)
