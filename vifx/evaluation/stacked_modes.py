"""Modes of images that are three others as colour channels, which a classifier names: 1,000 for ten classes."""

from __future__ import annotations

__all__ = ["StackedModes", "expected_captured", "expected_counts_kl", "measure_stacked_modes", "stacked_modes"]

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vifx.checks import require_integer
from vifx.core.types import Key, Params, State
from vifx.evaluation.image_quality import as_bytes
from vifx.evaluation.measure import Measure
from vifx.evaluation.table import Noted


class StackedModes(NamedTuple):
    """How samples are spread over the modes.

    Attributes:
      captured: how many modes have a sample.
      counts: how many samples each has, ``[classes³]``.
      counts_kl: the Kullback–Leibler divergence of their shares from equal ones, in nats.
    """

    captured: int
    counts: NDArray[np.int64]
    counts_kl: float


def stacked_modes(
    images: ArrayLike, classify: Callable[[NDArray[np.uint8]], ArrayLike], *, classes: int = 10
) -> StackedModes:
    """Count the modes of images ``[n, height, width, 3]`` by the class of each channel.

    A classifier errs, and a wrong class is another mode: a perfect generator captures a mode now and then that it did
    not draw, and one that has lost modes seems to have some of them. Compare with test images.

    Args:
      images: uint8, or floats in [0, 1].
      classify: the class of grey images ``[n, height, width, 1]``, uint8, such as `image_classifier` returns.
      classes: how many classes there are.

    Raises:
      ValueError: if the images do not have three channels, or a class is out of range.

    Reference: Srivastava et al., VEEGAN, 2017, section 5.
    """
    array, classes = as_bytes(images), require_integer(classes, "classes")
    if array.shape[-1] != 3:
        raise ValueError(f"images must have three channels, [n, height, width, 3], got shape {array.shape}.")
    named = np.stack([np.asarray(classify(array[..., c : c + 1]), np.int64) for c in range(3)])
    if named.min() < 0 or named.max() >= classes:
        raise ValueError(f"classify must return classes from 0 to {classes - 1}, got {named.min()} to {named.max()}.")
    modes = classes**2 * named[0] + classes * named[1] + named[2]
    counts = np.bincount(modes, minlength=classes**3)
    shares = counts[counts > 0] / len(array)
    return StackedModes(int((counts > 0).sum()), counts, float(np.sum(shares * np.log(shares * len(counts)))))


def expected_captured(modes: int, n: int) -> float:
    """Return how many of equally likely modes n draws find on average: ``m (1 − (1 − 1/m)ⁿ)``.

    >>> round(expected_captured(1000, 2500), 1)
    918.0
    """
    require_integer(modes, "modes")
    return modes * (1 - (1 - 1 / modes) ** require_integer(n, "n"))


def expected_counts_kl(modes: int, n: int) -> float:
    """Return the divergence of the shares of n draws from equal ones that a perfect generator has on average, in nats.

    ``log m + m E[K/n log K/n]`` with K ~ Bin(n, 1/m), exactly; about ``(m − 1)/2n`` where n is well above m.

    >>> round(expected_counts_kl(1000, 25600), 4)
    0.0196
    """
    from scipy.stats import binom

    require_integer(modes, "modes")
    k = np.arange(1, require_integer(n, "n") + 1)
    return math.log(modes) + modes * float(np.sum(binom.pmf(k, n, 1 / modes) * (k / n) * np.log(k / n)))


def measure_stacked_modes(
    sample: Callable[[Key, Params, State, int, float], NDArray[Any]],
    classify: Callable[[], Callable[[NDArray[np.uint8]], ArrayLike]],
    *,
    classes: int = 10,
    n: int = 25_600,
) -> Measure:
    """Measure ``modes`` and ``counts_kl`` of n samples, each beside what a perfect generator has at this n.

    Args:
      sample: such as `DecodedImages.sample`.
      classify: gives the classifier of a channel, such as ``lambda: image_classifier(config.data)``; called at the
      first
        measurement.
      classes: how many classes there are.
      n: how many samples.
    """
    of_channel, modes = cache(classify), classes**3

    def measure(key: Key, params: Params, state: State) -> Mapping[str, float]:
        found = stacked_modes(sample(key, params, state, n, 1.0), of_channel(), classes=classes)
        captured, kl = expected_captured(modes, n), expected_counts_kl(modes, n)
        return {
            "modes": Noted(found.captured, f"of {modes:,}; {captured:.1f} for {n:,} draws of a perfect generator"),
            "counts_kl": Noted(
                found.counts_kl, f"samples per mode against equal shares; {kl:.4f} for {n:,} perfect draws"
            ),
        }

    return measure
