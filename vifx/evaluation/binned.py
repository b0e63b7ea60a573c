"""Probabilities and how often they come true, bin by bin."""

from __future__ import annotations

__all__ = ["Binning", "Calibration", "by_bins"]

import math
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vifx.checks import require_integer

Binning: TypeAlias = Literal["equal_mass", "equal_width"]
"""How confidences are divided into bins: as many examples in each, or intervals of one length."""


class Calibration(NamedTuple):
    """What a classifier claims and what it keeps, by bins of its confidence, those without an example left out.

    Attributes:
      confidence: the mean confidence of each bin, the probability of the likeliest class, ``[bins]``, rising.
      accuracy: the share of each bin's examples whose likeliest class is their label, ``[bins]``.
      share: the share of all examples that are in each bin, ``[bins]``, with sum 1.
      spread: the standard deviation that the accuracy of each bin would have if the confidences were the
        probabilities of being right, ``[bins]``.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    share: NDArray[np.float64]
    spread: NDArray[np.float64]

    @property
    def error(self) -> float:
        """The expected calibration error ``Σ_b share_b |accuracy_b − confidence_b|``, 0 to 1.

        It depends on the bins, and is not zero for a calibrated classifier either: see `chance`.
        """
        return float(np.sum(self.share * np.abs(self.accuracy - self.confidence)))

    @property
    def largest(self) -> float:
        """The largest ``|accuracy_b − confidence_b|`` of a bin."""
        return float(np.max(np.abs(self.accuracy - self.confidence)))

    @property
    def chance(self) -> float:
        """The error that a calibrated classifier with the same confidences has on average, by chance alone.

        ``√(2/π) Σ_b share_b spread_b``: a bin's accuracy is normal around its confidence, roughly where a bin has few
        examples, and exactly where it has many.
        """
        return float(math.sqrt(2 / math.pi) * np.sum(self.share * self.spread))


def by_bins(
    confidence: NDArray[np.float64],
    correct: NDArray[Any],
    shares: NDArray[np.float64],
    *,
    bins: int,
    binning: Binning = "equal_mass",
) -> Calibration:
    """Return how often each of some probabilities comes true, as `calibration` has it.

    Args:
      confidence: the probabilities, ``[examples]``.
      correct: whether each came true, 1 or 0, or the probability that it does, ``[examples]``.
      shares: the weight of each, with sum 1.
      bins: how many.
      binning: ``"equal_mass"`` or ``"equal_width"``.

    Raises:
      TypeError: `bins` is not an integer.
      ValueError: `bins` is not positive, or `binning` is unknown.
    """
    require_integer(bins, "bins")
    if binning == "equal_width":
        place = np.ceil(confidence * bins) - 1
    elif binning == "equal_mass":
        place = np.floor(_ranks(confidence, shares) * bins)
    else:
        raise ValueError(f"binning must be 'equal_mass' or 'equal_width', got {binning!r}.")
    place = np.clip(place, 0, bins - 1).astype(np.int64)

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(place, values, bins).astype(np.float64)

    share = total(shares)
    held = share > 0
    share = share[held]
    variance = total(shares**2 * confidence * (1 - confidence))[held]
    return Calibration(
        total(shares * confidence)[held] / share,
        total(shares * correct)[held] / share,
        share,
        np.sqrt(np.maximum(variance, 0)) / share,
    )


def _ranks(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of what lies below each value, and half of what equals it, ``[examples]``."""
    _, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, shares)
    return (np.cumsum(mass) - mass / 2)[place]
