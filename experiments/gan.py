"""GAN on data of one's own: a folder of images, an array, or a table.

The networks follow from the data's shape: convolutions for images, whose sides have to be divisible by 4, and dense
layers for the rows of a table. Samples of images with labels are measured in the features of a classifier, those of
others in principal components.

Source:   Goodfellow et al. (2014), arXiv:1406.2661; Radford et al. (2016), arXiv:1511.06434.
Command:  vifx train experiments/gan.py
          vifx train gan --data.path photos --data.size 32
          vifx train gan --data.path table.csv
Hardware: 2 CPU cores, one to two minutes on scikit-learn's digits.
Metric:   FMD 11.7 and coverage 0.76 on the test split, 360 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import optax
from flax import linen as nn

import vifx
from vifx import data, games, lipschitz, networks, training
from vifx.experiment import Experiment, NonNegativeInt, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.Config):
    """The options of this experiment."""

    evaluate_every: PositiveInt | None = 500
    learning_rate: PositiveFloat = 2e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 32
    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Of a table: widths of the hidden layers of generator and critic."""
    penalty: PositiveFloat = 1.0
    """Weight of the R1 penalty on the critic's gradient at data."""
    decay: PositiveFloat = 0.999
    """Of the average of the generator's parameters, which is what is measured and drawn."""
    quality_examples: NonNegativeInt = 360
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=64))


def build(config: Config) -> Experiment:
    """Build the evidence and the generator, the labelled KL between them, and what to measure and draw."""
    splits = data.load(config.data)
    shape, images = splits.info.shape, len(splits.info.shape) == 3
    if images:
        nets = networks.image_generator(shape), networks.image_critic(shape)
    else:
        body = networks.MLP(config.hidden, activation=lambda x: nn.leaky_relu(x, 0.2))
        nets = networks.MLP(config.hidden, outputs=shape[0], norm="batch"), networks.Critic(body)
    model = games.gan(
        *(config.net(net) for net in nets),
        prior=vifx.standard_normal(config.latent),
        penalties=(lipschitz.r1(config.penalty),),
    )
    step = training.averaged(training.optimize(model.objective, optax.adam(config.learning_rate, b1=0.5)), config.decay)
    return (generator.images if images else generator.rows)(config, splits, model, step)
