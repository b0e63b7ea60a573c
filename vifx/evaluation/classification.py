"""What a classifier is worth: accuracy, likelihood, and whether its probabilities are the shares of right answers."""

from __future__ import annotations

__all__ = [
    "calibration",
    "draw_evidence",
    "draw_noise",
    "draw_reliability",
    "measure_classifier",
    "monitor_classifier",
    "noise_curves",
    "reliability_diagram",
]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.data import Split
from vifx.evaluation.binned import Binning, Calibration, by_bins
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Drawing, Measure, unmeasured
from vifx.evaluation.mosaics import image_grid
from vifx.evaluation.predictions import Predictions, calibrating_temperature, predict
from vifx.evaluation.style import STYLE, canvas, dress, legend, panels
from vifx.evaluation.table import Noted
from vifx.training.chunk import first_batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    return by_bins(predictions.confidence, predictions.correct, predictions.shares, bins=bins, binning=binning)


def reliability_diagram(
    calibrations: Mapping[str, Calibration],
    *,
    confidence: str = "confidence: probability of the likeliest class",
    accuracy: str = "accuracy",
) -> Figure:
    """Draw accuracy over confidence, bin by bin, and their difference below.

    On the diagonal a classifier is right as often as it says; below it, it is too confident. The area of a mark is the
    share of the examples in its bin. A bar is where 95 % of the accuracies of a calibrated classifier would lie in that
    bin, ``confidence ± 1.96 spread``. The legend has the expected calibration error.

    Args:
      calibrations: by name, such as ``{"as trained": …, "temperature 1.3": …}``.
      confidence: what the probabilities are of, in words; of a critic that of the origin.
      accuracy: what they are compared with.

    Raises:
      ValueError: there is none.
    """
    if not calibrations:
        raise ValueError("calibrations must hold at least one, got none.")
    figure = canvas(5.2, 5.8, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    upper.set_title("Reliability", loc="left", pad=8 + 12 * len(calibrations), **STYLE.heading)
    dress(upper, "", accuracy)
    dress(lower, confidence, f"{accuracy} − {confidence.partition(':')[0].partition(',')[0]}")
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


_BINS = 15


def monitor_classifier(generative: Joint, split: Split) -> Measure:
    """Measure ``loss``, ``−log q(y | x)`` in nats without any penalty, ``accuracy`` and ``calibration_error``.

    Args:
      generative: the evidence and the classifier.
      split: usually the validation split.
    """
    if not len(next(iter(split.values()))):
        return unmeasured

    def measured(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        found = predict(key, generative, params, state, split)
        return {
            "loss": found.nll,
            "accuracy": found.accuracy,
            "calibration_error": calibration(found).error,
        }

    return measured


def measure_classifier(
    generative: Joint, split: Split, *, validation: Split | None = None, noise: Sequence[float] = ()
) -> Measure:
    """Measure accuracy, negative log-likelihood, Brier score and expected calibration error of a split.

    With a validation split the temperature of the logits is fitted to it, `calibrating_temperature`, and
    ``nll/y/tempered`` and ``calibration_error/tempered`` are those of the split at that temperature. For every size of
    `noise`, ``accuracy/noise_0.1`` and ``nll/y/noise_0.1`` are those with Gaussian noise of that standard deviation on
    ``x``.

    Args:
      generative: the evidence and the classifier.
      split: usually the test split.
      validation: what the temperature is fitted to; without examples, or None, there is none.
      noise: standard deviations, in the unit of ``x`` as the classifier sees it.
    """

    def measured(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        def predicted(rows: Split, size: float = 0.0) -> Predictions:
            return predict(key, generative, params, state, rows, noise=size)

        def calibration_error(predictions: Predictions) -> Noted:
            found = calibration(predictions, bins=_BINS)
            return Noted(found.error, f"{_BINS} bins of equal mass; {found.chance:.4f} by chance if calibrated")

        plain = predicted(split)
        found: dict[str, Estimate | float] = {
            "accuracy": plain.accuracy,
            "nll/y": plain.nll,
            "brier": plain.brier,
            "calibration_error": calibration_error(plain),
        }
        if validation is not None and len(next(iter(validation.values()))):
            temperature = calibrating_temperature(predicted(validation))
            tempered = plain.tempered(temperature)
            found |= {
                "temperature": temperature,
                "nll/y/tempered": tempered.nll,
                "calibration_error/tempered": calibration_error(tempered),
            }
        for size in noise:
            noised = predicted(split, size)
            found |= {f"accuracy/noise_{size:g}": noised.accuracy, f"nll/y/noise_{size:g}": noised.nll}
        return found

    return measured


def draw_reliability(generative: Joint, split: Split, *, validation: Split | None = None) -> Drawing:
    """Draw the reliability diagram of a split, as trained and at the temperature that a validation split gives.

    Args:
      generative: the evidence and the classifier.
      split: usually the test split.
      validation: what the temperature is fitted to; without examples, or None, there is none.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        plain = predict(key, generative, params, state, split)
        drawn = {"as trained": plain}
        if validation is not None and len(next(iter(validation.values()))):
            held_out = predict(key, generative, params, state, validation)
            temperature = calibrating_temperature(held_out)
            drawn[f"temperature {temperature:.2f}"] = plain.tempered(temperature)
        return reliability_diagram({name: calibration(each, bins=_BINS) for name, each in drawn.items()})

    return draw


def draw_noise(generative: Joint, split: Split, *, noise: Sequence[float], unit: str = "") -> Drawing:
    """Draw accuracy and negative log-likelihood of a split over the size of Gaussian noise on ``x``.

    Args:
      generative: the evidence and the classifier.
      split: usually the test split.
      noise: standard deviations beside 0.
      unit: of the noise.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        sizes = sorted({0.0, *noise})
        found = {size: predict(key, generative, params, state, split, noise=size) for size in sizes}
        return noise_curves(found, unit=unit)

    return draw


def draw_evidence(source: Any) -> Drawing:
    """Draw the first 64 images of a source's minibatch as the loss sees them, such as mixtures of pairs, in [0, 1]."""

    def draw(key: Key, params: Params, state: State) -> Figure:
        del params, state
        images = np.asarray(first_batch(key, source)["x"][:64])
        return image_grid(images, title="Evidence that is trained on")

    return draw


def noise_curves(predictions: Mapping[float, Predictions], *, unit: str = "") -> Figure:
    """Draw accuracy and negative log-likelihood over the standard deviation of Gaussian noise on the input.

    Bands are 95 % intervals over the examples. A classifier that says ``1/classes`` for each class has the negative
    log-likelihood ``log classes``, the dashed line: above it, its probabilities are worse than none.

    Args:
      predictions: by standard deviation, such as `predict` makes them with `noise`.
      unit: of the noise.

    Raises:
      ValueError: there are fewer than two sizes of noise.
    """
    if len(predictions) < 2:
        raise ValueError(f"predictions must be of at least two sizes of noise, got {sorted(predictions)}.")
    figure, (left, right) = panels(1, 2, title="Noise on the input")
    sizes = sorted(predictions)
    label = f"standard deviation of the noise{f', {unit}' if unit else ''}"
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
