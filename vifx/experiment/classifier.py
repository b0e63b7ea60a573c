"""Experiments with a classifier: their options, joints and regularizers, and what is measured and drawn."""

from __future__ import annotations

__all__ = ["Config", "experiment", "subset"]

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optax

from vifx import data, evaluation, lipschitz, training
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.data import Dataset, Split
from vifx.data.images import scaled
from vifx.data.opened import part
from vifx.data.rows import length
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Experiment
from vifx.experiment.rules import NonNegativeFloat, PositiveFloat, PositiveInt
from vifx.variational import kl


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
      splits: images ``x``, uint8, and labels ``y``.
      classifier: the network of ``y | x``, for pixels from 0 to 1.
    """
    classifier = config.net(classifier)
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
    source = data.source(train, config.data, seed=config.seed, transform=other.get(config.regularizer, pixels))
    validation, test = (scaled(split) for split in (splits.validation, splits.test))
    return Experiment(
        objective=objective,
        step=step,
        source=source,
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=evaluation.monitor_classifier(generative, validation),
        evaluate=evaluation.measure_classifier(generative, test, validation=validation, noise=config.noise),
        drawings={
            "evidence": evaluation.draw_evidence(source),
            "reliability": evaluation.draw_reliability(generative, test, validation=validation),
            "noise": evaluation.draw_noise(generative, test, noise=config.noise, unit="black to white = 1"),
        },
        best="validation/loss",
        curves={"validation": ("validation/accuracy", "validation/calibration_error")},
    )


def subset(split: Split, examples: int | None, seed: int) -> Split:
    """Return some examples of a split, in its order; the whole split if it has no more, or `examples` is None.

    Which ones is a fixed function of the seed and of how many the split has, and more examples include the fewer.
    """
    size = length(split)
    if examples is None or examples >= size:
        return split
    # RandomState because NumPy promises that its stream never changes.
    chosen = np.sort(np.random.RandomState(seed).permutation(size)[:examples])
    return part(split, chosen)
