"""Paths of spirals in the plane, seen with noise at irregular times; what comes between and after is held out."""

from __future__ import annotations

__all__ = ["SPIRAL_PATHS", "SpiralPaths", "draw_spiral_paths"]

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class SpiralPaths(NamedTuple):
    """The law of the paths: ``r(t) (cos(φ + d ω t), sin(φ + d ω t))`` with ``r(t) = r + g t``, and noise.

    The direction d is 1 or −1, and the phase φ and the first radius r are uniform, on the circle and on an interval. So
    what one path comes to after it was seen, others have been when they were.

    Attributes:
      radius: the least and the largest r.
      growth: g.
      speed: ω, in radians.
      scale: the standard deviation of the noise of each coordinate.
      seen: how many points are seen.
      until: they are seen at times in (0, until], multiples of a hundredth.
      between: the times in between at which the path is held out, ``[times]``.
      after: the times after `until` at which it is, ``[times]``.
    """

    radius: tuple[float, float]
    growth: float
    speed: float
    scale: float
    seen: int
    until: float
    between: NDArray[Any]
    after: NDArray[Any]

    @property
    def held_times(self) -> NDArray[np.float32]:
        """The times at which the path is held out: those between, then those after."""
        return np.concatenate([self.between, self.after]).astype(np.float32)


SPIRAL_PATHS = SpiralPaths(
    (0.3, 1.3), 0.25, 1.6, 0.1, 30, 3.0, np.linspace(0.105, 2.905, 29), np.linspace(3.005, 5.005, 21)
)
"""Thirty points within three units of time, three quarters of a turn, and the path of two more."""


def draw_spiral_paths(stream: np.random.RandomState, size: int) -> dict[str, NDArray[Any]]:
    """Draw paths, half of them clockwise.

    Returns:
      ``x``, what is seen, float32 ``[size, 30, 2]``, and ``times``, when, ``[size, 30]``; ``held``, the path without
      noise at `SPIRAL_PATHS.held_times`, ``[size, 50, 2]``; ``y``, 1 for counterclockwise, int32 ``[size]``.

    Reference: after Chen, Rubanova, Bettencourt & Duvenaud (2018), arXiv:1806.07366, section 5.1.
    """
    law = SPIRAL_PATHS
    y = stream.randint(2, size=size)
    phase, first = 2 * np.pi * stream.random_sample(size), stream.uniform(*law.radius, size)
    grid = np.arange(1, round(100 * law.until) + 1)
    times = np.stack([np.sort(stream.permutation(grid)[: law.seen]) for _ in range(size)]) / 100

    def path(times: NDArray[Any]) -> NDArray[Any]:
        angle = phase[:, None] + (2 * y[:, None] - 1) * law.speed * times
        radius = first[:, None] + law.growth * times
        return radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)

    held = path(np.broadcast_to(law.held_times.astype(np.float64), (size, len(law.held_times))))
    x = path(times) + law.scale * stream.standard_normal((size, law.seen, 2))
    return {
        "x": x.astype(np.float32),
        "times": times.astype(np.float32),
        "held": held.astype(np.float32),
        "y": y.astype(np.int32),
    }
