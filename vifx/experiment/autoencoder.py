"""Experiments with an encoder and a decoder: their options, and what is trained, measured and drawn."""

from __future__ import annotations

__all__ = ["Config", "Likelihood", "Pixels", "experiment", "pixels"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import optax
from flax import linen as nn

from vifx import data, evaluation, networks, training
from vifx.core.joint import Joint
from vifx.core.objective import Objective
from vifx.data import Dataset
from vifx.evaluation import DecodedImages
from vifx.evaluation.decoded_images import Drawn
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Experiment
from vifx.experiment.rules import PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that experiments with an autoencoder have in common."""

    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    hidden: tuple[PositiveInt, ...] = (256, 256)
    """Widths of the hidden layers of encoder and decoder."""
    bound_examples: PositiveInt | None = None
    """Test images for the importance-weighted bounds, which take most of the evaluation's time; all of them if None."""


Likelihood: TypeAlias = Literal["bernoulli", "discretized_logistic"]
"""Of a pixel: black or white, drawn anew for every minibatch, or one of the images' shades."""


class Pixels(NamedTuple):
    """How the joints see the pixels of images.

    Attributes:
      kind: the `pixels` of `experiment`.
      head: of the decoder.
      read: what an encoder does with them first; None for nothing.
    """

    kind: Literal["shades", "binary"]
    head: nn.Module
    read: nn.Module | None


def pixels(splits: Dataset, likelihood: Likelihood) -> Pixels:
    """Return how a likelihood sees the images of a data set."""
    shape = splits.info.shape
    if likelihood == "bernoulli":
        return Pixels("binary", networks.BernoulliHead(shape), None)
    head = networks.DiscretizedLogisticHead(shape, data.shades_of(splits.train))
    return Pixels("shades", head, networks.Pixels())


def experiment(
    config: Config,
    splits: Dataset,
    inference: Joint,
    generative: Joint,
    objective: Objective,
    *,
    pixels: Literal["shades", "binary"] | None = "shades",
    latent: str = "z",
    classes: int | None = None,
    best: str = "validation/loss",
    drawn: Sequence[Drawn] = ("samples", "reconstructions", "traversal", "codes"),
) -> Experiment:
    """Return the experiment: Adam on the objective, the bounds of the test split, and the usual drawings.

    Args:
      splits: images ``x``, uint8, or the rows of a table, real numbers.
      pixels: how the joints see images: each in one of their shades; or black or white, drawn anew for every minibatch,
        and once for the other splits. None for a table, of which the columns and the codes are drawn.
      latent: the variable that is drawn, and whose active units are counted.
      classes: of a model given labels ``y``, how many there are.
      best: the monitored metric whose smallest value marks the checkpoint to keep ("-name": largest).
      drawn: which of the drawings of `DecodedImages`.
    """
    white, transform, validation, test = 255.0, None, splits.validation, splits.test
    if pixels == "binary":
        white, transform = 1.0, data.binarize()
        validation, test = (data.fixed_binarization(split, 0) for split in (validation, test))
    if pixels is None:
        codes = evaluation.draw_codes(inference, splits.test, latent=latent)
        drawings, sample = {"columns": evaluation.draw_columns(generative, splits), "codes": codes}, None
    else:
        restore = evaluation.unscaled(0.0, white)
        images = DecodedImages(generative, restore, latent, classes, inference, test, splits.test["x"])
        drawings, sample = images.drawings(*drawn), images.sample
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optax.adam(config.learning_rate)),
        source=data.source(splits.train, config.data, seed=config.seed, transform=transform),
        splits=splits,
        inference=inference,
        generative=generative,
        monitor=evaluation.monitor_loss(objective, validation),
        evaluate=evaluation.measure_bounds(inference, generative, test, examples=config.bound_examples, latent=latent),
        drawings=drawings,
        sample=sample,
        best=best,
    )
