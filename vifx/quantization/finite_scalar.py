"""Codes that are not learned: a bounded code, rounded to few levels along each axis."""

from __future__ import annotations

__all__ = ["finite_scalar"]

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from vifx.checks import require_integer, require_widths
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, PyTree
from vifx.quantization.quantizer import Assigned, Quantizer

MARGIN = 1e-3
"""How much wider than its levels the bounded code is, relative to them, so that the outer ones can be reached."""


def finite_scalar(encoder: Any, grid: Sequence[int] = (), *, levels: Sequence[int] = (8, 5, 5, 5)) -> Quantizer:
    """Finite scalar quantization: each number of E(x) is bounded and rounded to one of L_i levels.

    With ``h = (L − 1)(1 + 10⁻³)/2`` and o = ½ for even L and 0 for odd, ``b(y) = h tanh(y + artanh(o/h)) − o`` lies
    between the outer levels, ``z = round(b)/⌊L/2⌋`` is in [−1, 1], and its gradient is that of ``b/⌊L/2⌋``. There is no
    codebook to learn and so nothing to revive: the ``K = Π L_i`` codes are the points of a lattice, numbered with the
    first axis fastest.

    Args:
      encoder: a `Net`, Linen or NNX module, from x to ``[examples, *grid, len(levels)]``.
      grid: the shape of the grid, ``()`` for a single latent.
      levels: of each axis, 2 at least.

    Raises:
      TypeError: `encoder` is not a network, or another argument is of another kind.
      ValueError: a number is out of range, or there are more than 2²⁰ codes.

    References:
      Mentzer, Minnen, Agustsson & Tschannen (2023), Finite scalar quantization, arXiv:2309.15505.
    """
    net = as_net(encoder)
    sizes = require_widths(levels, "finite_scalar: levels")
    for number, size in enumerate(sizes):
        require_integer(size, f"finite_scalar: levels[{number}]", least=2)
    places = require_widths(grid, "finite_scalar: grid") if tuple(grid) else ()
    total = require_integer(math.prod(sizes), "finite_scalar: the product of levels", most=2**20)
    count = np.asarray(sizes)
    half = count // 2
    strides = np.concatenate([[1], np.cumprod(count[:-1])])
    lattice = (np.arange(total)[:, None] // strides % count - half) / half
    reach, offset = (count - 1) * (1 + MARGIN) / 2, np.where(count % 2 == 0, 0.5, 0.0)

    def init(key: Key, outputs: Array) -> tuple[PyTree, PyTree]:
        del key, outputs
        return {}, {}

    def points(params: PyTree, state: PyTree) -> Array:
        del params, state
        return jnp.asarray(lattice, jnp.result_type(float))

    def assign(params: PyTree, state: PyTree, outputs: Array) -> Assigned:
        del params, state

        def along(axis: np.ndarray) -> Array:
            return jnp.broadcast_to(jnp.asarray(axis, outputs.dtype), outputs.shape)

        bounded = along(reach) * jnp.tanh(outputs + along(np.arctanh(offset / reach))) - along(offset)
        level = jnp.round(bounded)
        steps = (level + along(half)).astype(jnp.int32)
        codes = jnp.sum(steps * jnp.broadcast_to(jnp.asarray(strides, jnp.int32), steps.shape), axis=-1)
        return Assigned(bounded / along(half), level / along(half), codes)

    return Quantizer(encoder=net, shape=(*places, len(sizes)), total=total, init=init, points=points, assign=assign)
