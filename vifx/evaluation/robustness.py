"""Robustness: how predictions change as noise is added to what a classifier sees."""

from __future__ import annotations

__all__ = ["noise_curves"]

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vifx.evaluation.predictions import Predictions
from vifx.evaluation.style import STYLE, dress, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def noise_curves(
    predictions: Mapping[float, Predictions], *, title: str = "Noise on the input", unit: str = ""
) -> Figure:
    """Draw accuracy and negative log-likelihood over the standard deviation of Gaussian noise on the input.

    Bands are 95 % intervals over the examples. A classifier that says ``1/classes`` for each class has the negative
    log-likelihood ``log classes``, the dashed line: above it, its probabilities are worse than none.

    Args:
      predictions: by standard deviation, such as `predict` makes them with `noise`.
      title: above, on the left.
      unit: of the noise.

    Raises:
      ValueError: there are fewer than two sizes of noise.
    """
    if len(predictions) < 2:
        raise ValueError(f"predictions must be of at least two sizes of noise, got {sorted(predictions)}.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.2), dpi=STYLE.dpi, layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left", fontsize=STYLE.title_size, color=STYLE.text)
    sizes = sorted(predictions)
    label = f"standard deviation of the noise{f', {unit}' if unit else ''}"
    left, right = figure.subplots(1, 2)
    for axes, words, estimates in (
        (left, "accuracy", [predictions[size].accuracy for size in sizes]),
        (right, "−log q(label | x), nats", [predictions[size].nll for size in sizes]),
    ):
        dress(axes, label, words)
        low, high = np.array([each.interval for each in estimates]).T
        axes.fill_between(sizes, low, high, color=STYLE.lines[0], alpha=0.15, linewidth=0)
        axes.plot(sizes, [each.mean for each in estimates], color=STYLE.lines[0], marker="o", markersize=4)
        axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    classes = predictions[sizes[0]].log_probs.shape[1]
    right.axhline(np.log(classes), color=STYLE.muted, linewidth=1.0, linestyle=(0, (4, 2)), label="log classes")
    legend(right, columns=1)
    return figure
