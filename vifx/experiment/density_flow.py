"""Experiments with a flow that has a likelihood: their options, their training, and what is measured and drawn."""

from __future__ import annotations

__all__ = ["Config", "ImageConfig", "experiment", "images"]

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vifx import data, evaluation, flows
from vifx.core.factor import evidence, transformed
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.core.types import Bijection
from vifx.data import Dataset
from vifx.data.rows import length
from vifx.distributions import standard_normal
from vifx.evaluation import DecodedImages, decoded_images
from vifx.evaluation.measure import Drawing, Measure, both
from vifx.experiment import averaged_adam
from vifx.experiment.file import Experiment
from vifx.experiment.rules import PositiveFloat, PositiveInt
from vifx.variational import kl


@dataclass(frozen=True)
class Config(averaged_adam.Config):
    """The options that experiments with a flow have in common."""

    dequantizations: PositiveInt = 4
    """Draws of the noise within a shade of grey, over which the test likelihood of images is averaged."""


@dataclass(frozen=True)
class ImageConfig(Config):
    """The options that experiments with a flow of images have in common."""

    alpha: PositiveFloat = 0.01
    """Pixels are moved into [α, 1 − α] before their logits are taken."""


def images(config: ImageConfig, *layers: Bijection) -> Experiment:
    """Return the experiment of a flow on dequantized 8-bit images, in as many shades of grey as they have.

    It is compared with a Gaussian on the logits where there are more training images than an image has pixels.
    """
    splits = data.load(config.data)
    shades = data.shades_of(splits.train)
    bijection = flows.chain(flows.logit(alpha=config.alpha), *layers)
    compare = None
    if length(splits.train) > math.prod(splits.info.shape):  # else the Gaussian's covariance is singular
        compare = evaluation.measure_gaussian(splits.train, splits.test, shades=shades, alpha=config.alpha)

    def measure(generative: Joint) -> Measure:
        draws = config.dequantizations
        return both(evaluation.measure_likelihood(generative, splits.test, shades=shades, draws=draws), compare)

    def drawings(generative: Joint) -> Mapping[str, Drawing]:
        found = {"samples": decoded_images.draw_temperatures(generative)}
        if rows := min(8, len(splits.test["x"]) // 2):  # each has an image at either end
            lines = decoded_images.draw_straight_lines(generative, splits.test, shades=shades, rows=rows)
            found["interpolation"] = lines
        return found

    built = experiment(config, splits, bijection, evaluate=measure, drawings=drawings, shades=shades)
    sample = DecodedImages(built.generative, evaluation.unscaled(0.0, 1.0)).sample
    return dataclasses.replace(built, sample=sample, curves={"likelihood": ("validation/bits_per_dim",)})


def experiment(
    config: Config,
    splits: Dataset,
    bijection: Bijection,
    *,
    evaluate: Callable[[Joint], Measure],
    drawings: Callable[[Joint], Mapping[str, Drawing]],
    shades: int | None = None,
    weight_decay: float = 0.0,
    objective: Callable[[Joint, Joint], Objective] = kl,
    monitor: Callable[[Joint, Joint], Measure] | None = None,
) -> Experiment:
    """Return the experiment of a flow from ``x`` to a standard normal, by maximum likelihood or another objective.

    Args:
      splits: real values ``x``, or images, uint8.
      shades: shades of grey of images, which are dequantized; None for real values.
      weight_decay: as in `averaged_adam.trainer`.
      objective: of evidence and flow, what is minimized.
      monitor: of evidence and flow, what is measured on the validation split; the likelihood by default.
    """
    base = standard_normal(math.prod(splits.info.shape))
    inference, generative = Joint(evidence("x")), Joint(transformed("x", base, bijection, name="flow"))
    minimized = objective(inference, generative)
    transform = None if shades is None else data.dequantize(shades=shades)
    if monitor is None:
        watched = evaluation.monitor_likelihood(generative, splits.validation, shades=shades)
    else:
        watched = monitor(inference, generative)
    return Experiment(
        objective=minimized,
        step=averaged_adam.trainer(minimized, config, weight_decay=weight_decay),
        source=data.source(splits.train, config.data, seed=config.seed, transform=transform),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=watched,
        evaluate=evaluate(generative),
        drawings=drawings(generative),
        best="validation/loss",
    )
