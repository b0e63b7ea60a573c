"""Rational-quadratic splines of the circle."""

from __future__ import annotations

__all__ = ["circular_rational_quadratic"]

import math

import jax
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.flows.bijections.elementwise import Elementwise
from vifx.flows.bijections.spline_pieces import Spline, evaluate, piece_of, solve


def circular_rational_quadratic(*, bins: int = 8, min_bin: float = 1e-3, min_slope: float = 1e-3) -> Elementwise:
    """A map of the circle onto itself: a monotone rational-quadratic spline of ``[-π, π]``, and then a rotation.

    ``z = s(x) + φ`` modulo 2π, with the spline s of `rational_quadratic`, whose slope at π is here that at −π, so that
    the map and its derivative are continuous on the circle, and with them the density. ``log|∂z/∂x| = log s'(x)``.
    `theta` holds the logits of `bins` widths and of `bins` heights, as many slopes before a softplus, and the phase φ
    in radians: ``3·bins + 1`` numbers, at zero the identity. The spline leaves −π in its place and the rotation moves
    it anywhere.

    Angles are in radians. One outside of ``[-π, π)`` is the same angle inside, and both directions return it there. The
    base is a distribution of angles, such as ``numpyro.distributions.Uniform(-math.pi, math.pi)``.

    A network that reads angles should read their cosines and sines, as those of `circular_spline` do; otherwise the
    density has a jump at ±π.

    Args:
      bins: the number of intervals between knots, at least 2.
      min_bin: the smallest width and height of a bin, as a share of the circle.
      min_slope: the smallest slope at a knot.

    Raises:
      ValueError: an argument is out of range, or ``bins·min_bin ≥ 1``.

    Reference: Rezende, Papamakarios, Racanière et al., Normalizing Flows on Tori and Spheres, 2020, arXiv:2002.02428.

    >>> import jax.numpy as jnp
    >>> circle = circular_rational_quadratic(bins=2)
    >>> z, log_det = circle.forward(jnp.zeros((1, 7)).at[0, 6].set(1.0), jnp.array([3.0]))  # rotated by 1
    >>> print(round(float(z[0]), 4), abs(float(log_det[0])) < 1e-6)
    -2.2832 True
    """
    spline = Spline(bins, math.pi, min_bin, min_slope, closed=True).require("circular_rational_quadratic")

    def forward(theta: Array, x: Array) -> tuple[Array, Array]:
        shape, phase = _parts(theta)
        x = _wrapped(x)
        piece = piece_of(shape, x, spline, by_height=False)
        z, log_det = evaluate(piece, (x - piece.left) / piece.width)
        return _wrapped(z + phase), log_det

    def inverse(theta: Array, z: Array) -> tuple[Array, Array]:
        shape, phase = _parts(theta)
        z = _wrapped(z - phase)
        piece = piece_of(shape, z, spline, by_height=True)
        share = solve(piece, (z - piece.bottom) / piece.height)
        _, log_det = evaluate(piece, share)
        return _wrapped(piece.left + piece.width * share), -log_det

    return Elementwise("circular_rational_quadratic", 3 * bins + 1, forward, inverse)


def _parts(theta: Array) -> tuple[Array, Array]:
    size = theta.shape[-1] - 1
    shape, phase = jax.lax.split(theta, (size, 1), axis=theta.ndim - 1)
    return shape, phase[..., 0]


def _wrapped(angle: Array) -> Array:
    """The same angle in ``[-π, π)``, with derivative 1."""
    return angle - 2 * math.pi * jnp.floor((angle + math.pi) / (2 * math.pi))
