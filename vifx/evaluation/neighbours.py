"""How samples lie among data: precision, recall, density and coverage, by balls around the points of either set."""

from __future__ import annotations

__all__ = ["Prdc", "expected_coverage", "prdc"]

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.feature_rows import centred, feature_rows, require_equal_size, squared_distances


class Prdc(NamedTuple):
    """Precision, recall, density and coverage; a perfect generator has density 1 and `expected_coverage`."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: ArrayLike, generated: ArrayLike, *, neighbours: int = 5) -> Prdc:
    """Return precision, recall, density and coverage from k-nearest-neighbour balls.

    ``B_i`` is the ball around real point `i` whose radius is the distance to its k-th nearest other
    real point:

    * precision: the share of generated points in some ``B_i``; recall: the same with the roles
      exchanged;
    * density: the mean number of ``B_i`` that a generated point lies in, over k;
    * coverage: the share of ``B_i`` that hold a generated point. Lead with this one: precision is
      easily fooled.

    Raises:
      ValueError: if the two sets differ in size (all four depend on it), or `neighbours` is not
        below that size.

    Reference: Naeem et al. (2020), Reliable fidelity and diversity metrics for generative models.
    """
    real, generated = feature_rows(real, "real"), feature_rows(generated, "generated")
    require_equal_size(real, generated, "real", "generated")
    if not 1 <= neighbours < len(real):
        raise ValueError(f"neighbours must be from 1 to {len(real) - 1}, below the number of points, got {neighbours}.")
    generated, real = centred(generated, real)
    real_radius, generated_radius = _squared_radii(real, neighbours), _squared_radii(generated, neighbours)
    covered = np.zeros(len(real), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    balls = np.zeros(len(generated), dtype=np.int64)
    for rows, squared in squared_distances(real, generated):
        inside = squared <= real_radius[rows, None]
        covered[rows] = inside.any(axis=1)
        balls += np.count_nonzero(inside, axis=0)
        recalled[rows] = (squared <= generated_radius).any(axis=1)
    return Prdc(
        precision=float(np.mean(balls > 0)),
        recall=float(recalled.mean()),
        density=float(balls.mean() / neighbours),
        coverage=float(covered.mean()),
    )


def expected_coverage(real: int, generated: int, *, neighbours: int = 5) -> float:
    """Return the coverage that a perfect generator has on average: ``1 − Π_{i<k} (n−1−i)/(m+n−1−i)``.

    Args:
      real: the number n of real points.
      generated: the number m of generated points.
      neighbours: k.

    >>> round(expected_coverage(10_000, 10_000), 3)
    0.969
    """
    missed = 1.0
    for i in range(neighbours):
        missed *= (real - 1 - i) / (generated + real - 1 - i)
    return 1 - missed


def _squared_radii(points: NDArray[Any], neighbours: int) -> NDArray[Any]:
    radii = np.empty(len(points))
    for rows, squared in squared_distances(points, points):
        squared.partition(neighbours, axis=1)
        radii[rows] = squared[:, neighbours]  # the first is the point itself
    return radii
