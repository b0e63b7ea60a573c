"""Monotone rational-quadratic splines."""

from __future__ import annotations

__all__ = ["rational_quadratic"]

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.flows.bijections.elementwise import Elementwise
from vifx.flows.bijections.spline_pieces import Spline, evaluate, piece_of, solve


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
    spline = Spline(bins, bound, min_bin, min_slope, closed=False).require("rational_quadratic")

    def forward(theta: Array, x: Array) -> tuple[Array, Array]:
        inside = jnp.abs(x) <= bound
        clipped = jnp.clip(x, -bound, bound)
        piece = piece_of(theta, clipped, spline, by_height=False)
        z, log_det = evaluate(piece, (clipped - piece.left) / piece.width)
        return jnp.where(inside, z, x), jnp.where(inside, log_det, jnp.zeros_like(x))

    def inverse(theta: Array, z: Array) -> tuple[Array, Array]:
        inside = jnp.abs(z) <= bound
        clipped = jnp.clip(z, -bound, bound)
        piece = piece_of(theta, clipped, spline, by_height=True)
        share = solve(piece, (clipped - piece.bottom) / piece.height)
        _, log_det = evaluate(piece, share)
        x = piece.left + piece.width * share
        return jnp.where(inside, x, z), jnp.where(inside, -log_det, jnp.zeros_like(z))

    return Elementwise("rational_quadratic", 3 * bins - 1, forward, inverse)
