"""Datasets that are drawn when they are loaded: nothing is stored, and the true law is known."""

from __future__ import annotations

__all__ = ["MIXTURES", "Modes", "generate", "law", "modes"]

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require
from vifx.data.casino import draw_casino
from vifx.data.dataset import Dataset, Info, Split, hold_out
from vifx.data.names import GENERATED
from vifx.data.reber import draw_reber
from vifx.data.shapes import CURVE_NOISE, CURVES, SHAPES, draw_shape
from vifx.data.spiral_paths import draw_spiral_paths
from vifx.data.tracking import draw_tracking

_TRAIN, _TEST = 50_000, 10_000
_SEQUENCES = 100
_TRAIN_TEST = 5000, 1000
_ROWS = 1024  # rows whose distances to all centres are held at a time
_CURVE = 2000


_MANY: Mapping[str, tuple[Callable[..., Split], float, float]] = MappingProxyType(
    {"reber": (draw_reber, 0, 6), "spiral_paths": (draw_spiral_paths, -np.inf, np.inf)}
)


class Modes(NamedTuple):
    """The mixture ``Σ_k w_k N(c_k, s_k² I)`` that a dataset is drawn from.

    Attributes:
      centres: c, ``[modes, dimensions]``.
      scale: s, the standard deviation of each mode along every axis, ``[modes]``.
      weights: w, ``[modes]``, summing to 1.
    """

    centres: NDArray[Any]
    scale: NDArray[Any]
    weights: NDArray[Any]

    def log_prob(self, values: ArrayLike) -> NDArray[Any]:
        """Return the log-density of ``[n, dimensions]`` in nats, ``[n]``."""
        values = np.asarray(values, np.float64)
        constants = np.log(self.weights) - self.centres.shape[1] * np.log(np.sqrt(2 * np.pi) * self.scale)
        from scipy.spatial.distance import cdist
        from scipy.special import logsumexp

        found = np.empty(len(values))
        for first in range(0, len(values), _ROWS):
            squares = cdist(values[first : first + _ROWS], self.centres, "sqeuclidean") / self.scale**2
            found[first : first + _ROWS] = logsumexp(constants - squares / 2, axis=1)
        return found


def modes(name: str) -> Modes:
    """Return the modes of a dataset whose law is a mixture of Gaussians: generated, or the table ``twonorm``.

    * ``ring``: 8 equal Gaussians of scale 0.1 at angles 2πk/8 on a circle of radius 2;
    * ``grid25``: 25 equal Gaussians of scale 0.05 on the 5×5 grid of spacing 2 around the origin;
    * ``fgan_mixture``: ⅓ N(−1, 0.25²) + ⅔ N(2, (√2)²) on the line, mean 1 and variance 161/48. A single Gaussian
      cannot fit it, and each divergence prefers another one;
    * ``twonorm``: ½ N((2/√20)·1, I) + ½ N(−(2/√20)·1, I) in 20 dimensions, the law that the rows of the table of
      that name were drawn from.

    Raises:
      ValueError: if there is no such mixture.

    References: for the grid and the ring, Srivastava et al., VEEGAN, 2017; for the mixture on the line, Nowozin et al.,
    f-GAN, 2016, whose figures for six divergences determine the five numbers; for the last, Breiman, Bias, variance,
    and arcing classifiers, 1996.

    >>> modes("ring").centres[2].round(4).tolist()
    [0.0, 2.0]
    """
    known = {**MIXTURES, "twonorm": _twonorm}
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"name must be a mixture of Gaussians, one of {', '.join(known)}; got {name!r}")
    return known[name]()


def law(name: str) -> Modes | None:
    """Return the distribution that a dataset is drawn from as a mixture of Gaussians, or None where it is not one.

    It is `modes` where there are modes. ``two_moons``, ``circles`` and ``spirals`` are curves with Gaussian noise: the
    density is the integral over the curve, here the sum over 2,000 points of each of its two parts, which is exact to
    rounding since they are far closer to each other than the noise is wide.

    >>> law("circles").log_prob([[1.0, 0.0]]).round(4).tolist()
    [-1.1461]
    """
    require(name, str, "name", "the name of a dataset", "give one such as 'two_moons'")
    if name in CURVES:
        u = (np.arange(_CURVE) + 0.5) / _CURVE
        parts = [CURVES[name](np.full(_CURVE, part), u) for part in (0, 1)]
        return _equal(np.concatenate(parts), CURVE_NOISE)
    return modes(name) if name in (*MIXTURES, "twonorm") else None


def generate(name: str, *, validation: int | float, split_seed: int) -> Dataset:
    """Draw a generated dataset: 50,000 examples for training and 10,000 for testing; 100 each if they are sequences.

    ``x`` is float32 ``[examples, dimensions]`` and ``y`` the index of the mode, or of the part of the shape, int32;
    of ``casino`` they are the rolls and the dice (see `vifx.data.casino.draw_casino`), int32 ``[examples, length]``; of
    ``tracking`` see `vifx.data.tracking.draw_tracking`, and of the 5,000 and 1,000 sequences of ``reber`` and
    ``spiral_paths`` `vifx.data.reber.draw_reber` and `vifx.data.spiral_paths.draw_spiral_paths`.
    Everything, the test split too, is a fixed function of the seed; the validation split is held out of the training
    split as elsewhere.

    Args:
      name: which one; see `modes` for the mixtures and `vifx.data.shapes.draw_shape` for the shapes in the plane.
      validation: how much of the training split to hold out (see `hold_out`).

    Raises:
      ValueError: if there is no such dataset, or `validation` is out of range.
    """
    if name not in GENERATED:
        raise ValueError(f"name must be a generated dataset, one of {', '.join(GENERATED)}; got {name!r}")
    # RandomState because NumPy promises that its stream never changes; Generator's may.
    stream = np.random.RandomState(split_seed)
    if name == "casino":
        (x, y), (test_x, test_y) = draw_casino(stream, _SEQUENCES), draw_casino(stream, _SEQUENCES)
        train, held = hold_out({"x": x, "y": y}, validation, split_seed)
        return Dataset(train, held, {"x": test_x, "y": test_y}, Info(name, x.shape[1:], None, 0, 5))
    if name in _MANY:
        draw, low, high = _MANY[name]
        drawn, test = draw(stream, _TRAIN_TEST[0]), draw(stream, _TRAIN_TEST[1])
        train, held = hold_out(drawn, validation, split_seed)
        return Dataset(train, held, test, Info(name, drawn["x"].shape[1:], None, low, high))
    if name == "tracking":
        drawn, test = draw_tracking(stream, _SEQUENCES), draw_tracking(stream, _SEQUENCES)
        train, held = hold_out(drawn, validation, split_seed)
        return Dataset(train, held, test, Info(name, drawn["x"].shape[1:], None, -np.inf, np.inf))
    if name in SHAPES:
        count, dimensions = SHAPES[name][0], 2
        drawn, test = (_split(*draw_shape(name, stream, size)) for size in (_TRAIN, _TEST))
    else:
        mixture = modes(name)
        count, dimensions = mixture.centres.shape
        drawn, test = (_split(*_draw(stream, mixture, size)) for size in (_TRAIN, _TEST))
    train, held = hold_out(drawn, validation, split_seed)
    return Dataset(train, held, test, Info(name, (dimensions,), count, -np.inf, np.inf))


def _split(x: NDArray[Any], y: NDArray[Any]) -> Split:
    return {"x": x.astype(np.float32), "y": y.astype(np.int32)}


def _draw(stream: np.random.RandomState, mixture: Modes, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    y = np.searchsorted(np.cumsum(mixture.weights)[:-1], stream.random_sample(size), side="right")
    noise = stream.standard_normal((size, mixture.centres.shape[1]))
    return mixture.centres[y] + mixture.scale[y, None] * noise, y


def _equal(centres: NDArray[Any], scale: float) -> Modes:
    count = len(centres)
    return Modes(centres, np.full(count, scale), np.full(count, 1 / count))


def _ring() -> Modes:
    angles = 2 * np.pi * np.arange(8) / 8
    return _equal(2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.1)


def _grid25() -> Modes:
    side = 2.0 * np.arange(-2, 3)
    return _equal(np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(25, 2), 0.05)


def _fgan_mixture() -> Modes:
    return Modes(np.array([[-1.0], [2.0]]), np.array([0.25, np.sqrt(2.0)]), np.array([1 / 3, 2 / 3]))


def _twonorm() -> Modes:
    centre = np.full(20, 2 / np.sqrt(20))
    return _equal(np.stack([centre, -centre]), 1.0)


MIXTURES: Mapping[str, Callable[[], Modes]] = MappingProxyType(
    {"ring": _ring, "grid25": _grid25, "fgan_mixture": _fgan_mixture}
)
"""By name, the function that makes the modes of a generated mixture."""
