"""Shapes in the plane that flows are tried on: densities that are not mixtures of a few Gaussians."""

from __future__ import annotations

__all__ = ["CURVES", "CURVE_NOISE", "SHAPES", "draw_shape"]

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = tuple[NDArray[Any], NDArray[Any]]


def draw_shape(name: str, stream: np.random.RandomState, size: int) -> Points:
    """Draw points of a shape and the part of it that each belongs to.

    With u uniform on [0, 1), ε standard normal in the plane, and part k drawn uniformly:

    * ``two_moons``: (cos πu, sin πu) and (1 − cos πu, ½ − sin πu), plus 0.1 ε;
    * ``circles``: radius 1 and 2, angle 2πu, plus 0.1 ε;
    * ``spirals``: radius t and angle t + πk with t = 3π√u, divided by 3, plus 0.1 ε;
    * ``pinwheel``: r = 1 + 0.3 ε₀ and 0.1 ε₁, turned by 2πk/5 + e^r / 4 and doubled, k one of five;
    * ``checkerboard``: uniform on the eight dark squares of a 4×4 board on [−4, 4)²; the density is 1/32.

    Returns:
      Points ``[size, 2]`` and the index of the part ``[size]``.

    References: Moons and circles as in scikit-learn (Pedregosa et al., 2011); pinwheel: Johnson et al. (2016),
    arXiv:1603.06277; spirals and checkerboard as used by Grathwohl et al. (2019), arXiv:1810.01367.
    """
    return SHAPES[name][1](stream, size)


def _moons(y: NDArray[Any], u: NDArray[Any]) -> NDArray[Any]:
    arc = np.stack([np.cos(np.pi * u), np.sin(np.pi * u)], axis=1)
    return np.where(y[:, None] == 0, arc, np.array([1.0, 0.5]) - arc)


def _rings(y: NDArray[Any], u: NDArray[Any]) -> NDArray[Any]:
    angle = 2 * np.pi * u
    return (1.0 + y)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _arms(y: NDArray[Any], u: NDArray[Any]) -> NDArray[Any]:
    t = 3 * np.pi * np.sqrt(u)
    angle = t + np.pi * y
    return (t / 3)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


CURVES: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]] = MappingProxyType(
    {"two_moons": _moons, "circles": _rings, "spirals": _arms}
)
"""The shapes that are two curves with noise: by name, from the part and u to points of the curve."""
CURVE_NOISE = 0.1
"""The standard deviation of that noise."""


def _along(name: str, stream: np.random.RandomState, size: int) -> Points:
    y, u = stream.randint(2, size=size), stream.random_sample(size)
    return CURVES[name](y, u) + CURVE_NOISE * stream.standard_normal((size, 2)), y


def _pinwheel(stream: np.random.RandomState, size: int) -> Points:
    y = stream.randint(5, size=size)
    along, across = (stream.standard_normal((size, 2)) * np.array([0.3, 0.1]) + np.array([1.0, 0.0])).T
    angle = 2 * np.pi * y / 5 + np.exp(along) / 4
    cos, sin = np.cos(angle), np.sin(angle)
    return 2 * np.stack([cos * along - sin * across, sin * along + cos * across], axis=1), y


def _checkerboard(stream: np.random.RandomState, size: int) -> Points:
    y = stream.randint(8, size=size)
    row, column = y // 2, 2 * (y % 2) + (y // 2) % 2
    corner = 2.0 * np.stack([column, row], axis=1) - 4.0
    return corner + 2.0 * stream.random_sample((size, 2)), y


SHAPES: Mapping[str, tuple[int, Callable[[np.random.RandomState, int], Points]]] = MappingProxyType(
    {
        **{name: (2, partial(_along, name)) for name in CURVES},
        "pinwheel": (5, _pinwheel),
        "checkerboard": (8, _checkerboard),
    }
)
"""By name, the number of parts and the function that draws the shape."""
