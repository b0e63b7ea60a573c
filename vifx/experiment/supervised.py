"""What experiments with a classifier measure and draw: accuracy, likelihood, calibration, robustness to noise.

Each function returns a function of (key, params, state), as `Experiment` takes them. Inputs are as the classifier sees
them: where a source transforms pixels, the splits here are transformed too, by `shown`.
"""

from __future__ import annotations

__all__ = ["draw_evidence", "draw_noise", "draw_reliability", "measure", "monitor", "shown", "subset"]

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from vifx import evaluation
from vifx.data import Split, Transform
from vifx.evaluation import Estimate, Noted, Predictions
from vifx.evaluation.calibration import Binning
from vifx.experiment.file import Drawing, Measure, unmeasured
from vifx.joint import Joint
from vifx.training.chunk import first_batch
from vifx.types import Key, Params, State

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 1000


def subset(split: Split, examples: int | None, seed: int) -> Split:
    """Return some examples of a split, in its order; the whole split if it has no more, or `examples` is None.

    Which ones is a fixed function of the seed and of how many the split has, and more examples include the fewer.

    Args:
      split: arrays by variable.
      examples: how many at most.
      seed: chooses which.
    """
    size = len(next(iter(split.values())))
    if examples is None or examples >= size:
        return split
    # RandomState because NumPy promises that its stream never changes.
    chosen = np.sort(np.random.RandomState(seed).permutation(size)[:examples])
    return {name: array[chosen] for name, array in split.items()}


def shown(split: Split, transform: Transform) -> Split:
    """Return a split as a deterministic transform shows it to the classifier, such as `data.normalize()`.

    Args:
      split: arrays by variable.
      transform: ignores its key.
    """
    key = jax.random.key(0)  # nothing is drawn
    size = len(next(iter(split.values())))
    parts = [
        jax.tree.map(
            np.asarray,
            transform(key, {name: jax.numpy.asarray(array[start : start + _ROWS]) for name, array in split.items()}),
        )
        for start in range(0, max(size, 1), _ROWS)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def monitor(generative: Joint, split: Split, *, label: str = "y") -> Measure:
    """Measure ``loss``, ``−log q(label | x)`` in nats without any penalty, ``accuracy`` and ``calibration_error``.

    Args:
      generative: the evidence and the classifier.
      split: usually the validation split.
      label: the variable that is predicted.
    """
    if not len(next(iter(split.values()))):
        return unmeasured

    def measured(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        found = evaluation.predict(key, generative, params, state, split, label=label)
        return {
            "loss": found.nll,
            "accuracy": found.accuracy,
            "calibration_error": evaluation.calibration(found).error,
        }

    return measured


def measure(
    generative: Joint,
    split: Split,
    *,
    validation: Split | None = None,
    label: str = "y",
    noise: Sequence[float] = (),
    bins: int = 15,
    binning: Binning = "equal_mass",
) -> Measure:
    """Measure accuracy, negative log-likelihood, Brier score and expected calibration error of a split.

    With a validation split the temperature of the logits is fitted to it, `evaluation.calibrating_temperature`, and
    ``nll/y/tempered`` and ``calibration_error/tempered`` are those of the split at that temperature. For every size of
    `noise`, ``accuracy/noise_0.1`` and ``nll/y/noise_0.1`` are those with Gaussian noise of that standard deviation on
    ``x``.

    Args:
      generative: the evidence and the classifier.
      split: usually the test split.
      validation: what the temperature is fitted to; without examples, or None, there is none.
      label: the variable that is predicted.
      noise: standard deviations, in the unit of ``x`` as the classifier sees it.
      bins: of the calibration error.
      binning: how they are made, as in `evaluation.calibration`.
    """

    def measured(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        def predicted(rows: Split, size: float = 0.0) -> Predictions:
            return evaluation.predict(key, generative, params, state, rows, label=label, noise=size)

        def calibration_error(predictions: Predictions) -> Noted:
            found = evaluation.calibration(predictions, bins=bins, binning=binning)
            words = binning.replace("_", " ")
            return Noted(found.error, f"{bins} bins of {words}; {found.chance:.4f} by chance if calibrated")

        plain = predicted(split)
        found: dict[str, Estimate | float] = {
            "accuracy": plain.accuracy,
            f"nll/{label}": plain.nll,
            "brier": plain.brier,
            "calibration_error": calibration_error(plain),
        }
        if validation is not None and len(next(iter(validation.values()))):
            temperature = evaluation.calibrating_temperature(predicted(validation))
            tempered = plain.tempered(temperature)
            found |= {
                "temperature": temperature,
                f"nll/{label}/tempered": tempered.nll,
                "calibration_error/tempered": calibration_error(tempered),
            }
        for size in noise:
            noised = predicted(split, size)
            found |= {f"accuracy/noise_{size:g}": noised.accuracy, f"nll/{label}/noise_{size:g}": noised.nll}
        return found

    return measured


def draw_reliability(
    generative: Joint, split: Split, *, validation: Split | None = None, label: str = "y", bins: int = 15
) -> Drawing:
    """Draw the reliability diagram of a split, as trained and at the temperature that a validation split gives.

    Args:
      generative: the evidence and the classifier.
      split: usually the test split.
      validation: what the temperature is fitted to; without examples, or None, there is none.
      label: the variable that is predicted.
      bins: of equal mass.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        plain = evaluation.predict(key, generative, params, state, split, label=label)
        drawn = {"as trained": plain}
        if validation is not None and len(next(iter(validation.values()))):
            held_out = evaluation.predict(key, generative, params, state, validation, label=label)
            temperature = evaluation.calibrating_temperature(held_out)
            drawn[f"temperature {temperature:.2f}"] = plain.tempered(temperature)
        return evaluation.reliability_diagram(
            {name: evaluation.calibration(each, bins=bins) for name, each in drawn.items()}
        )

    return draw


def draw_noise(generative: Joint, split: Split, *, noise: Sequence[float], label: str = "y", unit: str = "") -> Drawing:
    """Draw accuracy and negative log-likelihood of a split over the size of Gaussian noise on ``x``.

    Args:
      generative: the evidence and the classifier.
      split: usually the test split.
      noise: standard deviations beside 0.
      label: the variable that is predicted.
      unit: of the noise.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        sizes = sorted({0.0, *noise})
        found = {
            size: evaluation.predict(key, generative, params, state, split, label=label, noise=size) for size in sizes
        }
        return evaluation.noise_curves(found, unit=unit)

    return draw


def draw_evidence(source: Any, *, n: int = 64, title: str = "Evidence that is trained on") -> Drawing:
    """Draw the first `n` images of a minibatch as the loss sees them, such as mixtures of pairs.

    Args:
      source: where minibatches come from; ``x`` are images between 0 and 1.
      n: how many, at most.
      title: above, on the left.
    """

    def draw(key: Key, params: Params, state: State) -> Figure:
        del params, state
        images = np.asarray(first_batch(key, source)["x"][:n])
        return evaluation.image_grid(images, title=title, limits=(0.0, 1.0))

    return draw
