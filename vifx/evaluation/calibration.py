"""Calibration: whether the probabilities of a classifier are the shares with which it is right."""

from __future__ import annotations

__all__ = ["Binning", "Calibration", "calibration", "reliability_diagram"]

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vifx.checks import require_integer
from vifx.evaluation.predictions import Predictions
from vifx.evaluation.style import STYLE, dress, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


def calibration(predictions: Predictions, *, bins: int = 15, binning: Binning = "equal_mass") -> Calibration:
    """Compare the confidence of predictions with their accuracy, bin by bin.

    Bins of equal mass hold as many examples each (by weight; equal confidences stay together), so that every part of
    the error is as well known as the others. Bins of equal width are the intervals ``((b − 1)/bins, b/bins]``, the
    published form: most of them hold few examples of a good classifier.

    Args:
      predictions: of examples that were not trained on.
      bins: how many.
      binning: ``"equal_mass"`` or ``"equal_width"``.

    Raises:
      TypeError: `bins` is not an integer.
      ValueError: `bins` is not positive, or `binning` is unknown.

    References:
      Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, 2015; Guo et al.,
      On calibration of modern neural networks, 2017.
    """
    require_integer(bins, "bins")
    shares, confidence = predictions.shares, predictions.confidence
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
        total(shares * predictions.correct)[held] / share,
        share,
        np.sqrt(np.maximum(variance, 0)) / share,
    )


def _ranks(values: NDArray[np.float64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of what lies below each value, and half of what equals it, ``[examples]``."""
    _, place = np.unique(values, return_inverse=True)
    mass = np.bincount(place, shares)
    return (np.cumsum(mass) - mass / 2)[place]


def reliability_diagram(calibrations: Mapping[str, Calibration], *, title: str = "Reliability") -> Figure:
    """Draw accuracy over confidence, bin by bin, and their difference below.

    On the diagonal a classifier is right as often as it says; below it, it is too confident. The area of a mark is the
    share of the examples in its bin. A bar is where 95 % of the accuracies of a calibrated classifier would lie in that
    bin, ``confidence ± 1.96 spread``. The legend has the expected calibration error.

    Args:
      calibrations: by name, such as ``{"as trained": …, "temperature 1.3": …}``.
      title: above, on the left.

    Raises:
      ValueError: there is none.
    """
    if not calibrations:
        raise ValueError("calibrations must hold at least one, got none.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.8), dpi=STYLE.dpi, layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    upper.set_title(title, loc="left", fontsize=STYLE.title_size, color=STYLE.text, pad=8 + 12 * len(calibrations))
    dress(upper, "", "accuracy")
    dress(lower, "confidence: probability of the likeliest class", "accuracy − confidence")
    low = min(float(min(each.confidence.min(), each.accuracy.min())) for each in calibrations.values())
    upper.plot([low, 1], [low, 1], color=STYLE.line, linewidth=1.0, zorder=1)
    lower.axhline(0, color=STYLE.line, linewidth=1.0, zorder=1)
    for (name, each), colour in zip(calibrations.items(), STYLE.lines, strict=False):
        label = f"{name}: calibration error {each.error:.3f}, {each.chance:.3f} by chance"
        upper.plot(each.confidence, each.accuracy, color=colour, linewidth=1.2, label=label)
        upper.scatter(each.confidence, each.accuracy, s=300 * each.share, color=colour, linewidths=0)
        lower.plot(each.confidence, each.accuracy - each.confidence, color=colour, marker="o", markersize=3)
        bar = {"fmt": "none", "ecolor": colour, "alpha": 0.4, "elinewidth": 1.0, "capsize": 2}
        upper.errorbar(each.confidence, each.confidence, yerr=1.96 * each.spread, **bar)
        lower.errorbar(each.confidence, np.zeros_like(each.confidence), yerr=1.96 * each.spread, **bar)
    legend(upper, columns=1)
    return figure
