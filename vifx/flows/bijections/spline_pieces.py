"""The pieces of monotone rational-quadratic splines: the bin of each element, its map, and the inverse of that."""

from __future__ import annotations

__all__ = ["Piece", "Spline", "evaluate", "piece_of", "solve"]

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.types import Array


class Spline(NamedTuple):
    """The settings of splines on ``[-bound, bound]``.

    Attributes:
      bins: the number of intervals between knots.
      bound: half the length of the interval.
      min_bin: the smallest width and height of a bin, as a share of the interval.
      min_slope: the smallest slope at a knot.
      closed: whether the slope at the last knot is that at the first, a parameter; otherwise both are 1.
    """

    bins: int
    bound: float
    min_bin: float
    min_slope: float
    closed: bool

    def require(self, name: str) -> Spline:
        """Return it if every setting is in range.

        Raises:
          ValueError: one is not; the message starts with `name`.
        """
        require_integer(self.bins, f"{name}: bins", least=2)
        require_number(self.bound, f"{name}: bound", above=0)
        hint = f"all {self.bins} bins must fit into the interval"
        require_number(self.min_bin, f"{name}: min_bin", above=0, below=1 / self.bins, hint=hint)
        require_number(self.min_slope, f"{name}: min_slope", above=0, below=1)
        return self


class Piece(NamedTuple):
    """The bin in which each element lies, and the slopes at its two ends."""

    left: Array
    width: Array
    bottom: Array
    height: Array
    first: Array
    last: Array


def piece_of(theta: Array, value: Array, spline: Spline, *, by_height: bool) -> Piece:
    """Find each element's bin by comparisons with all knots: masked sums, no gather to differentiate.

    Args:
      theta: ``[..., parameters]``: logits of the widths, of the heights, and slopes before a softplus.
      value: ``[...]`` in ``[-bound, bound]``.
      by_height: whether `value` is one of z, and not of x.
    """
    bins, bound = spline.bins, spline.bound
    # A coupling lays the parameters of its elements side by side, so that here nothing is moved.
    theta = jnp.moveaxis(theta, -1, -2)
    widths = _sizes(theta[..., :bins, :], bound, spline.min_bin)
    heights = _sizes(theta[..., bins : 2 * bins, :], bound, spline.min_bin)
    sizes = heights if by_height else widths
    knots = [sizes[..., 0, :]]
    for k in range(1, bins - 1):
        knots.append(knots[-1] + sizes[..., k, :])
    over = value[..., None, :] >= jnp.stack(knots, axis=-2) - bound
    always = jnp.ones_like(over[..., :1, :])
    before = jnp.concatenate((over, ~always), axis=-2)
    here = jnp.concatenate((always, over), axis=-2) & ~before

    def total(where: Array, values: Array) -> Array:
        return jnp.sum(jnp.where(where, values, jnp.zeros_like(values)), axis=-2)

    slopes = theta[..., 2 * bins :, :]
    if spline.closed:
        raw = total(here, slopes), total(here, jnp.roll(slopes, -1, axis=-2))
    else:
        raw = total(here[..., 1:, :], slopes), total(here[..., :-1, :], slopes)
    at_zero = math.log(math.expm1(1 - spline.min_slope))
    first, last = (spline.min_slope + jax.nn.softplus(own + at_zero) for own in raw)
    left, bottom = total(before, widths) - bound, total(before, heights) - bound
    return Piece(left, total(here, widths), bottom, total(here, heights), first, last)


def _sizes(logits: Array, bound: float, min_bin: float) -> Array:
    """``2·bound·(min_bin + (1 - bins·min_bin)·softmax)`` over the axis before the last."""
    share = (1 - logits.shape[-2] * min_bin) * jax.nn.softmax(logits, axis=-2)
    return 2 * bound * (min_bin + share)


def evaluate(piece: Piece, share: Array) -> tuple[Array, Array]:
    """Return z and ``log|∂z/∂x|`` at a share of the bin's width."""
    slope, rest = piece.height / piece.width, 1 - share
    both = share * rest
    denominator = slope * (1 - 2 * both) + (piece.first + piece.last) * both
    rise = slope * share**2 + piece.first * both
    change = piece.last * share**2 + 2 * slope * both + piece.first * rest**2
    return piece.bottom + piece.height * rise / denominator, jnp.log(change * (slope / denominator) ** 2)


def solve(piece: Piece, risen: Array) -> Array:
    """The share of the bin's width at which a share `risen` of its height is reached: a root of a quadratic.

    Of the two forms of the root the one that adds numbers of one sign is taken, so that nothing cancels.
    """
    slope = piece.height / piece.width
    bend = piece.first + piece.last - 2 * slope
    a = slope - piece.first + risen * bend
    b = piece.first - risen * bend
    root = jnp.sqrt(jnp.maximum(b**2 + 4 * a * slope * risen, jnp.finfo(risen.dtype).tiny))
    usual = b >= 0
    numerator = jnp.where(usual, 2 * slope * risen, root - b)
    return numerator / jnp.where(usual, b + root, 2 * a)
