"""What experiments with a classifier share: options, joints, regularizers, and what they measure and draw.

Measures and drawings are functions of (key, params, state), as `Experiment` takes them. Inputs are as the classifier
sees them: where a source transforms pixels, the splits here are transformed too, by `shown`.
"""

from __future__ import annotations

__all__ = [
    "Config",
    "draw_evidence",
    "draw_noise",
    "draw_reliability",
    "experiment",
    "measure",
    "monitor",
    "shown",
    "subset",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
import optax

from vifx import data, evaluation, lipschitz, nets, training
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.types import Key, Params, State
from vifx.data import Dataset, Split, Transform
from vifx.evaluation import Estimate, Noted, Predictions
from vifx.evaluation.calibration import Binning
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Drawing, Experiment, Measure, unmeasured
from vifx.experiment.rules import NonNegativeFloat, PositiveFloat, PositiveInt
from vifx.training.chunk import first_batch
from vifx.variational import kl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 1000


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that experiments with a classifier have in common."""

    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    examples: PositiveInt | None = None
    """How many training images to learn from at most, chosen by the seed; all of them if None."""
    regularizer: Literal["none", "mixup", "sample_pairing", "spectral", "gradient", "weight_decay"] = "none"
    """What the classifier is kept from overfitting by: another evidence (mixup, sample_pairing), a penalty on the norms
    of the kernels (spectral) or on the slope of log q(y | x) (gradient), or weight decay."""
    alpha: PositiveFloat = 0.3
    """Of mixup's Beta(α, α); small networks are advised to take 0.2 to 0.4, since they underfit with more."""
    paired: PositiveFloat = 0.5
    """The share of the examples that SamplePairing averages with another."""
    spectral_weight: NonNegativeFloat = 2e-2
    """Weight of Σ ‖W‖₂² over the kernels, in nats."""
    gradient_weight: NonNegativeFloat = 0.1
    """Weight of ½ ‖∇ log q(y | x)‖², over pixels from 0 to 1, in nats."""
    decay: NonNegativeFloat = 0.3
    """Weight decay of AdamW: each update multiplies the parameters by 1 − learning_rate · decay."""
    noise: tuple[PositiveFloat, ...] = (0.05, 0.1, 0.2, 0.4)
    """Standard deviations of the Gaussian noise on test images whose pixels are from 0 to 1."""


def experiment(config: Config, splits: Dataset, classifier: Any) -> Experiment:
    """Return the experiment: KL(inference ‖ generative) with its regularizer, and what to measure and draw.

    Args:
      config: its options.
      splits: images ``x``, uint8, and labels ``y``.
      classifier: the network of ``y | x``, for pixels from 0 to 1.
    """
    classifier = nets.in_precision(classifier, config.precision)
    inference = Joint(evidence("x", "y"))
    generative = Joint(evidence("x"), factor("y | x", classifier, name="classifier"))
    objective = kl(inference, generative)

    pixels = data.normalize(low=0.0)
    other = {
        "mixup": data.compose(pixels, data.one_hot(splits.info.classes or 1), data.mixup(alpha=config.alpha)),
        "sample_pairing": data.compose(pixels, data.sample_pairing(share=config.paired)),
    }
    penalty = {
        "spectral": lipschitz.spectral_regularization("classifier", config.spectral_weight),
        "gradient": lipschitz.penalized(
            "classifier", classifier, lipschitz.r1(config.gradient_weight), label="y", output=lambda y: y.log_probs
        ),
    }
    decay = config.decay if config.regularizer == "weight_decay" else 0.0
    step = training.optimize(objective, optax.adamw(config.learning_rate, weight_decay=decay))
    if config.regularizer in penalty:
        step = training.constrained(step, loss=penalty[config.regularizer])

    train = subset(splits.train, config.examples, config.seed)
    source = data.Resident(train, config.data.batch_size, config.seed, other.get(config.regularizer, pixels))
    validation, test = (shown(split, pixels) for split in (splits.validation, splits.test))
    return Experiment(
        objective=objective,
        step=step,
        source=source,
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=monitor(generative, validation),
        evaluate=measure(generative, test, validation=validation, noise=config.noise),
        drawings={
            "evidence": draw_evidence(source),
            "reliability": draw_reliability(generative, test, validation=validation),
            "noise": draw_noise(generative, test, noise=config.noise, unit="black to white = 1"),
        },
        best="validation/loss",
        curves={"validation": ("validation/accuracy", "validation/calibration_error")},
    )


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
