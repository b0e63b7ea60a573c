"""Monotone rational-quadratic splines."""

from __future__ import annotations

__all__ = ["rational_quadratic"]

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.checks import require_integer, require_number
from vifx.core.types import Array
from vifx.flows.bijections.elementwise import Elementwise


def rational_quadratic(
    *, bins: int = 8, bound: float = 3.0, min_bin: float = 1e-3, min_slope: float = 1e-3
) -> Elementwise:
    """A monotone rational-quadratic spline on ``[-bound, bound]``, the identity outside, analytic both ways.

    Between knots ``(x_k, z_k)`` with slopes ``d_k``, where ``w`` and ``h`` are a bin's width and height, ``s = h/w``,
    ``ξ = (x - x_k)/w`` and ``Q = s + (d_k + d_{k+1} - 2s) ξ(1-ξ)``:
    ``z = z_k + h [s ξ² + d_k ξ(1-ξ)]/Q`` and
    ``log|∂z/∂x| = log s² [d_{k+1} ξ² + 2s ξ(1-ξ) + d_k (1-ξ)²]/Q²``. The slopes at the ends are 1. `theta` holds the
    logits of `bins` widths, of `bins` heights, and ``bins - 1`` slopes before a softplus: ``3·bins - 1`` numbers, at
    zero the identity.

    Args:
      bins: the number of intervals between knots, at least 2.
      bound: half the length of the interval.
      min_bin: the smallest width and height of a bin, as a share of the interval.
      min_slope: the smallest slope at a knot.

    Raises:
      ValueError: an argument is out of range, or ``bins·min_bin ≥ 1``.

    References: Durkan, Bekasov, Murray & Papamakarios (2019), arXiv:1906.04032; Gregory & Delbourgo (1982), IMA J.
    Numer. Anal. 2, 123–130.
    """
    _check(bins, bound, min_bin, min_slope)

    def forward(theta: Array, x: Array) -> tuple[Array, Array]:
        inside = jnp.abs(x) <= bound
        clipped = jnp.clip(x, -bound, bound)
        piece = _piece(theta, clipped, bins, bound, min_bin, min_slope, by_height=False)
        share = (clipped - piece.left) / piece.width
        z, log_det = _evaluate(piece, share)
        return jnp.where(inside, z, x), jnp.where(inside, log_det, jnp.zeros_like(x))

    def inverse(theta: Array, z: Array) -> tuple[Array, Array]:
        inside = jnp.abs(z) <= bound
        clipped = jnp.clip(z, -bound, bound)
        piece = _piece(theta, clipped, bins, bound, min_bin, min_slope, by_height=True)
        share = _solve(piece, (clipped - piece.bottom) / piece.height)
        _, log_det = _evaluate(piece, share)
        x = piece.left + piece.width * share
        return jnp.where(inside, x, z), jnp.where(inside, -log_det, jnp.zeros_like(z))

    return Elementwise("rational_quadratic", 3 * bins - 1, forward, inverse)


class _Piece(NamedTuple):
    """The bin in which each element lies."""

    left: Array
    width: Array
    bottom: Array
    height: Array
    first: Array
    last: Array


def _piece(
    theta: Array, value: Array, bins: int, bound: float, min_bin: float, min_slope: float, *, by_height: bool
) -> _Piece:
    """Find each element's bin by comparisons with all knots: masked sums, no gather to differentiate."""
    # A coupling lays the parameters of its elements side by side, so that here nothing is moved.
    theta = jnp.moveaxis(theta, -1, -2)
    widths = _sizes(theta[..., :bins, :], bound, min_bin)
    heights = _sizes(theta[..., bins : 2 * bins, :], bound, min_bin)
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
    at_zero = math.log(math.expm1(1 - min_slope))
    first, last = (
        min_slope + jax.nn.softplus(total(where, slopes) + at_zero) for where in (here[..., 1:, :], here[..., :-1, :])
    )
    left, bottom = total(before, widths) - bound, total(before, heights) - bound
    return _Piece(left, total(here, widths), bottom, total(here, heights), first, last)


def _sizes(logits: Array, bound: float, min_bin: float) -> Array:
    """``2·bound·(min_bin + (1 - bins·min_bin)·softmax)`` over the axis before the last."""
    share = (1 - logits.shape[-2] * min_bin) * jax.nn.softmax(logits, axis=-2)
    return 2 * bound * (min_bin + share)


def _evaluate(piece: _Piece, share: Array) -> tuple[Array, Array]:
    slope, rest = piece.height / piece.width, 1 - share
    both = share * rest
    denominator = slope * (1 - 2 * both) + (piece.first + piece.last) * both
    rise = slope * share**2 + piece.first * both
    change = piece.last * share**2 + 2 * slope * both + piece.first * rest**2
    return piece.bottom + piece.height * rise / denominator, jnp.log(change * (slope / denominator) ** 2)


def _solve(piece: _Piece, risen: Array) -> Array:
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


def _check(bins: int, bound: float, min_bin: float, min_slope: float) -> None:
    require_integer(bins, "rational_quadratic: bins", least=2)
    require_number(bound, "rational_quadratic: bound", above=0)
    hint = f"all {bins} bins must fit into the interval"
    require_number(min_bin, "rational_quadratic: min_bin", above=0, below=1 / bins, hint=hint)
    require_number(min_slope, "rational_quadratic: min_slope", above=0, below=1)
