"""Samples beside data without a network: memorization, and differences of moments.

Everything is a function of arrays ``[n, features]``, in their own unit; images are flattened. Distances are Euclidean,
computed in double precision.
"""

from __future__ import annotations

__all__ = ["Memorization", "memorization", "moment_errors", "nearest_distances"]

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.evaluation.feature_rows import centred, feature_rows, require_same_features, squared_distances


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


def nearest_distances(queries: ArrayLike, reference: ArrayLike) -> NDArray[Any]:
    """Return the distance of each query ``[n, ...]`` to the nearest of `reference` ``[m, ...]``, ``[n]``."""
    queries, reference = feature_rows(queries, "queries"), feature_rows(reference, "reference")
    require_same_features(queries, reference, "queries", "reference")
    queries, reference = centred(queries, reference)
    nearest = np.concatenate([squared.argmin(axis=1) for _, squared in squared_distances(queries, reference)])
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
    samples, data = feature_rows(samples, "samples"), feature_rows(data, "data")
    require_same_features(samples, data, "samples", "data")

    def difference(a: NDArray[Any], b: NDArray[Any]) -> float:
        return float(np.sqrt(np.mean((a - b) ** 2)))

    return {
        "mean": difference(samples.mean(axis=0), data.mean(axis=0)),
        "standard_deviation": difference(samples.std(axis=0), data.std(axis=0)),
    }
