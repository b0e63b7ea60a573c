"""Sample quality without a pretrained network: memorization, manifold coverage, Fréchet distance, moments.

Everything is a function of feature arrays ``[n, features]``, in the features' own unit; images are
flattened. Distances are Euclidean, computed in float64. A Fréchet distance here is never an FID:
that name belongs to one fixed Inception network.
"""

from __future__ import annotations

__all__ = [
    "Memorization",
    "Prdc",
    "expected_coverage",
    "frechet_distance",
    "memorization",
    "moment_errors",
    "nearest_distances",
    "prdc",
]

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_unmasked

_ROWS = 1024  # rows of a distance matrix held at a time


class Memorization(NamedTuple):
    """Distances to the nearest training example.

    Attributes:
      samples: of each sample, ``[n]``.
      test: of each held-out example, ``[m]``.
      closer: the probability that a random sample is nearer to the training data than a random
        held-out example, ties counted half. One half for samples of the data distribution, 1 for
        copies of training data, and 0 for samples far from all data: memorization shows as a value
        well above one half.
    """

    samples: NDArray[Any]
    test: NDArray[Any]
    closer: float


class Prdc(NamedTuple):
    """Precision, recall, density and coverage; a perfect generator has density 1 and `expected_coverage`."""

    precision: float
    recall: float
    density: float
    coverage: float


def nearest_distances(queries: ArrayLike, reference: ArrayLike) -> NDArray[Any]:
    """Return the distance of each query ``[n, ...]`` to the nearest of `reference` ``[m, ...]``, ``[n]``."""
    queries, reference = _features(queries, "queries"), _features(reference, "reference")
    _require_same_features(queries, reference, "queries", "reference")
    queries, reference = _centred(queries, reference)
    nearest = np.concatenate([distances.argmin(axis=1) for _, distances in _distances(queries, reference)])
    # Again by differences: the expanded square cannot tell a copy from a near copy.
    return np.sqrt(np.sum((queries - reference[nearest]) ** 2, axis=1))


def memorization(samples: ArrayLike, train: ArrayLike | Iterator[ArrayLike], test: ArrayLike) -> Memorization:
    """Compare the nearest-training-example distances of samples with those of held-out data.

    Args:
      samples: ``[n, ...]``.
      train: what the model was trained on, in the same scale and transform; or an iterator of parts of it, of which
        one at a time is in memory.
      test: held-out examples ``[m, ...]`` of the same distribution.
    """
    parts = train if isinstance(train, Iterator) else iter([train])
    found = [(nearest_distances(samples, part), nearest_distances(test, part)) for part in parts]
    drawn, held_out = (np.min(distances, axis=0) for distances in zip(*found, strict=True))
    ordered = np.sort(held_out)
    above = len(ordered) - np.searchsorted(ordered, drawn, side="right")
    ties = np.searchsorted(ordered, drawn, side="right") - np.searchsorted(ordered, drawn, side="left")
    return Memorization(drawn, held_out, float(np.mean((above + 0.5 * ties) / len(ordered))))


def moment_errors(samples: ArrayLike, data: ArrayLike) -> dict[str, float]:
    """Return root-mean-square differences of the per-element means and standard deviations.

    Two numbers in the unit of the data, ``"mean"`` and ``"standard_deviation"``: a cheap check that
    a sampler has the right brightness and spread, not a measure of quality.
    """
    samples, data = _features(samples, "samples"), _features(data, "data")
    _require_same_features(samples, data, "samples", "data")

    def difference(a: NDArray[Any], b: NDArray[Any]) -> float:
        return float(np.sqrt(np.mean((a - b) ** 2)))

    return {
        "mean": difference(samples.mean(axis=0), data.mean(axis=0)),
        "standard_deviation": difference(samples.std(axis=0), data.std(axis=0)),
    }


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
    real, generated = _features(real, "real"), _features(generated, "generated")
    _require_equal_size(real, generated, "real", "generated")
    if not 1 <= neighbours < len(real):
        raise ValueError(f"neighbours must be from 1 to {len(real) - 1}, below the number of points, got {neighbours}.")
    generated, real = _centred(generated, real)
    real_radius, generated_radius = _radii(real, neighbours), _radii(generated, neighbours)
    covered = np.zeros(len(real), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    balls = np.zeros(len(generated), dtype=np.int64)
    for rows, distances in _distances(real, generated):
        inside = distances <= real_radius[rows, None]
        covered[rows] = inside.any(axis=1)
        balls += inside.sum(axis=0)
        recalled[rows] = (distances <= generated_radius).any(axis=1)
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


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Return the squared Fréchet (2-Wasserstein) distance of the Gaussians fitted to two feature sets.

    ``‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a^½ Σ_b Σ_a^½)^½)`` with unbiased covariances; its bias is
    about ``1/n``, so the two sets must have one size and values of different sizes cannot be
    compared.

    Raises:
      ValueError: if the sets differ in size or have fewer than two rows.
    """
    a, b = _features(a, "a"), _features(b, "b")
    _require_equal_size(a, b, "a", "b")
    if len(a) < 2:
        raise ValueError(f"a and b must have at least 2 rows each for a covariance, got {len(a)}.")
    covariance_a, covariance_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    spectrum, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(spectrum, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariance_b @ root), 0)).sum()
    shift = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    return float(shift + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)


def _centred(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Subtract the mean of `b` from both, without which expanded squares would cancel far from the origin."""
    centre = b.mean(axis=0)
    return a - centre, b - centre


def _distances(a: NDArray[Any], b: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield (slice of rows of `a`, their distances to all of `b`), a block at a time, by matrix products.

    Squares are expanded, so that points have to be `_centred`.
    """
    squared_b = np.sum(b**2, axis=1)
    for first in range(0, len(a), _ROWS):
        rows = slice(first, min(first + _ROWS, len(a)))
        squared = np.sum(a[rows] ** 2, axis=1)[:, None] + squared_b - 2 * a[rows] @ b.T
        yield rows, np.sqrt(np.maximum(squared, 0))


def _radii(points: NDArray[Any], neighbours: int) -> NDArray[Any]:
    radii = np.empty(len(points))
    for rows, distances in _distances(points, points):
        # Index 0 is the point itself.
        radii[rows] = np.partition(distances, neighbours, axis=1)[:, neighbours]
    return radii


def _features(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(require_unmasked(values, name), dtype=np.float64)
    if array.ndim < 2 or len(array) == 0:
        raise ValueError(f"{name} must be [n, features] with at least one row, got shape {array.shape}.")
    return array.reshape(len(array), -1)


def _require_same_features(a: NDArray[Any], b: NDArray[Any], name_a: str, name_b: str) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"{name_a} and {name_b} must have equal features, got {a.shape[1]} and {b.shape[1]}.")


def _require_equal_size(a: NDArray[Any], b: NDArray[Any], name_a: str, name_b: str) -> None:
    _require_same_features(a, b, name_a, name_b)
    if len(a) != len(b):
        raise ValueError(
            f"{name_a} and {name_b} must have equally many rows because the value depends on the number, "
            f"got {len(a)} and {len(b)}; take equal subsets."
        )
