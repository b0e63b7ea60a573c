"""Codes that are learned: a codebook of equal spherical Gaussians."""

from __future__ import annotations

__all__ = ["nearest", "vector"]

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from vifx.checks import require_integer, require_widths
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, PyTree
from vifx.em.families.gaussian import gaussian
from vifx.em.latent_table import MOST_STATES
from vifx.quantization.quantizer import Assigned, Quantizer

SCALE = math.sqrt(0.5)
"""The standard deviation of a code, with which ``−log q(E | k)`` is ``‖E − e_k‖²`` and a constant."""


def vector(encoder: Any, shape: Sequence[int], *, codes: int = 512) -> Quantizer:
    """Vector quantization: ``k(x) = argmin_k ‖E(x) − e_k‖²`` at each place of a grid.

    The codebook is a family of `vifx.em`, ``E | k ~ N(e_k, ½ I)`` with equal shares, and k(x) its posterior at the
    temperature 0: hard EM. So the best codes are the means of what is assigned to them, k-means, and `codebook_turn`
    solves for them, at once or step by step. They begin at the means of what is nearest to k-means++ seeds among the
    vectors of the batch that they are initialized on.

    Args:
      encoder: a `Net`, Linen or NNX module, from x to ``[examples, *shape]``.
      shape: ``(*grid, features)`` of what it returns: ``(7, 7, 16)`` for 49 codes of 16 numbers, ``(16,)`` for one.
      codes: K, from 2 to 4096, which all places share.

    Raises:
      TypeError: `encoder` is not a network, or another argument is of another kind.
      ValueError: a number is out of range; where it is initialized, there are fewer vectors than codes.

    References:
      van den Oord, Vinyals & Kavukcuoglu (2017), Neural discrete representation learning, arXiv:1711.00937.
    """
    net = as_net(encoder)
    sizes = require_widths(shape, "vector: shape")
    total = require_integer(codes, "vector: codes", least=2, most=MOST_STATES)
    family = gaussian(total, covariance="spherical", fixed={"scale": np.full(total, SCALE)})

    def init(key: Key, outputs: Array) -> tuple[PyTree, PyTree]:
        if outputs.shape[0] < total:
            raise ValueError(
                f"vector: codes must not exceed the vectors that they are initialized on, {outputs.shape[0]} of the "
                f"batch, got {total}; use fewer codes, or a larger batch."
            )
        return family.init(key, outputs)

    def points(params: PyTree, state: PyTree) -> Array:
        del state
        return params["mean"]

    def assign(params: PyTree, state: PyTree, outputs: Array) -> Assigned:
        means = points(params, state)
        codes = nearest(means, outputs)
        return Assigned(outputs, means[codes], codes)

    return Quantizer(encoder=net, shape=sizes, total=total, init=init, points=points, assign=assign, family=family)


def nearest(points: Array, vectors: Array) -> Array:
    """Return the number of the nearest of some points, integers ``[...]`` of vectors ``[..., features]``.

    Squares are expanded around the mean of the points, so that they do not cancel far from the origin.
    """
    centre = jnp.mean(points, axis=0)
    points = points - jnp.broadcast_to(centre, points.shape)
    flat = vectors.reshape(-1, vectors.shape[-1])
    flat = flat - jnp.broadcast_to(centre, flat.shape)
    squares = jnp.sum(points**2, axis=1)
    products = flat @ points.T
    found = jnp.argmin(jnp.broadcast_to(squares, products.shape) - 2 * products, axis=1)
    return found.astype(jnp.int32).reshape(vectors.shape[:-1])
