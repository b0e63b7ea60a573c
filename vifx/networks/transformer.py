"""A transformer of categorical data: every element sees all others, and says what each of them may be."""

from __future__ import annotations

__all__ = ["Transformer"]

import math
from typing import Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vifx.checks import require_choice
from vifx.core.types import Array
from vifx.networks.denoisers import time_features

Positions: TypeAlias = Literal["learned", "rotary"]

_ZEROS = nn.initializers.zeros_init()


class Transformer(nn.Module):
    """Attention of all elements to all, in blocks that the level of the noise and a class scale, shift and gate.

    A block is ``h ← h + g₁ attention(norm(h) (1 + s₁) + m₁)``, then the same with a dense layer of gelu units, in which
    s, m and g are affine in features of the level and the class; the gates and the logits are zero at first.
    `vifx.diffusion.discrete_reverse` calls it, as ``(z, t)``, ``(z, t, y)`` with labels, or ``(z, t, y, kept)`` where
    these can be dropped.

    Attributes:
      classes: K of the logits; z has the integers 0 … K, of which K is the mask.
      features: numbers per element; divisible by the heads, into even parts.
      depth: how many blocks.
      heads: of the attention.
      positions: ``"learned"``, a vector for every place, for images too; or ``"rotary"``, the distance of two places
        turns queries and keys, for sequences.
      labels: of ``y``, integers ``[rows]``, how many there are; None without labels.
      dropout: of what a block adds, in training.

    Raises:
      ValueError: if `features` cannot be divided so, or `positions` is not one of these words.

    References: Vaswani et al. (2017), arXiv:1706.03762; Peebles & Xie (2023), Scalable diffusion models with
    transformers, arXiv:2212.09748; Su et al. (2021), Rotary position embedding, arXiv:2104.09864.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> network = Transformer(27, features=16, depth=1, heads=2)
      >>> z, t = jnp.zeros((5, 64), jnp.int32), jnp.ones((5, 1))
      >>> jax.eval_shape(network.init_with_output, jax.random.key(0), z, t)[0].shape
      (5, 64, 27)
    """

    classes: int
    features: int = 128
    depth: int = 4
    heads: int = 4
    positions: Positions = "learned"
    labels: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Check the sizes."""
        require_choice(self.positions, ("learned", "rotary"), "Transformer: positions")
        if self.features % (2 * self.heads):
            raise ValueError(
                f"features must be divisible by 2 × heads = {2 * self.heads}, so that each head has an even number of "
                f"them, got {self.features}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Array, t: Array, *parents: Array, train: bool = False) -> Array:
        """Map integers ``z [rows, *event]``, ``t [rows, 1]`` and labels to logits ``[rows, *event, K]``."""
        context = nn.Dense(self.features)(time_features(t, 32))
        if self.labels is not None:
            label, *kept = parents
            told = nn.Embed(self.labels, self.features)(label)
            context = context + (told * kept[0] if kept else told)
        context = nn.silu(context)
        h = nn.Embed(self.classes + 1, self.features)(z.reshape(len(z), -1))
        turns = None
        if self.positions == "learned":
            where = self.param("places", nn.initializers.normal(0.02), h.shape[1:], h.dtype)
            h = h + where[None]
        else:
            turns = _rotations(h.shape[1], self.features // self.heads, h.dtype)
        for _ in range(self.depth):
            h = _Block(self.heads, self.dropout)(h, context, turns, train)
        scale, shift = jnp.split(nn.Dense(2 * self.features, kernel_init=_ZEROS)(context)[:, None], 2, axis=-1)
        logits = nn.Dense(self.classes, kernel_init=_ZEROS)(_normalized(h) * (1 + scale) + shift)
        return logits.reshape(*z.shape, self.classes)


class _Block(nn.Module):
    heads: int
    dropout: float

    @nn.compact
    def __call__(self, h: Array, context: Array, turns: tuple[Array, Array] | None, train: bool) -> Array:
        rows, places, features = h.shape
        six = jnp.split(nn.Dense(6 * features, kernel_init=_ZEROS)(context)[:, None], 6, axis=-1)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        moved = _normalized(h) * (1 + six[0]) + six[1]
        query, key, value = jnp.split(nn.Dense(3 * features, use_bias=False)(moved), 3, axis=-1)
        query, key, value = (each.reshape(rows, places, self.heads, -1) for each in (query, key, value))
        if turns is not None:
            query, key = _rotated(query, turns), _rotated(key, turns)
        weights = jnp.einsum("rqhf,rkhf->rhqk", query, key) / math.sqrt(features // self.heads)
        found = jnp.einsum("rhqk,rkhf->rqhf", jax.nn.softmax(weights), value).reshape(h.shape)
        h = h + six[2] * drop(nn.Dense(features)(found))
        moved = _normalized(h) * (1 + six[3]) + six[4]
        return h + six[5] * drop(nn.Dense(features)(nn.gelu(nn.Dense(4 * features)(moved))))


def _normalized(h: Array) -> Array:
    """Normalize the numbers of each element, with nothing learned."""
    return nn.LayerNorm(use_bias=False, use_scale=False)(h)


def _rotations(places: int, features: int, dtype: jnp.dtype) -> tuple[Array, Array]:
    """Cosines and sines of ``place / 10000^(2i/n)``, ``[1, places, 1, n/2]``, computed on the host."""
    angles = np.arange(places)[:, None] / 10000.0 ** (np.arange(0, features, 2)[None] / features)
    along = angles[None, :, None]
    return jnp.asarray(np.cos(along), dtype), jnp.asarray(np.sin(along), dtype)


def _rotated(x: Array, turns: tuple[Array, Array]) -> Array:
    """Turn each pair of numbers, of which one is in the first half and one in the second, by its place's angle."""
    cos, sin = turns
    one, other = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([one * cos - other * sin, one * sin + other * cos], axis=-1)
