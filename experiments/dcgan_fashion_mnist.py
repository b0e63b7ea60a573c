"""GAN with deep convolutional networks on Fashion-MNIST, with or without the proximal term.

The published comparison: the setting "batch_norm" makes one update of the critic, then two of the generator on one
minibatch of latents; "plain" has no normalization and five minibatches for each. With `--proximal 0` the generator
makes the same updates on the same latents.

Source:   Su (2018), GAN as variational inference, arXiv:1807.05936; Radford et al. (2016), arXiv:1511.06434.
Command:  vifx train experiments/dcgan_fashion_mnist.py
          vifx train experiments/dcgan_fashion_mnist.py --proximal 0
          vifx train experiments/dcgan_fashion_mnist.py --setting plain --steps 100
Hardware: 2 CPU cores, about 75 seconds.
Metric:   FMD 40.7 and coverage 0.15 on the test split, 10,000 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax
from flax import linen as nn

import vifx
from vifx import data, games, networks, training
from vifx.experiment import Experiment, NonNegativeFloat, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.Config):
    """The options of this experiment."""

    steps: PositiveInt = 600
    checkpoint_every: PositiveInt = 200
    evaluate_every: PositiveInt | None = 200
    setting: Literal["batch_norm", "plain"] = "batch_norm"
    """Normalization and turns: 1 minibatch a turn with it, 5 without."""
    proximal: NonNegativeFloat = 5.0
    """Weight λ of the squared distance to the generator at the start of its phase, averaged over pixels."""
    learning_rate: PositiveFloat = 2e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 100
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64, validation=5000))


def build(config: Config) -> Experiment:
    """Build the evidence and the generator, the labelled KL between them, and what to measure and draw."""
    splits = data.load(config.data)
    norm, turns = ("batch", 1) if config.setting == "batch_norm" else (None, 5)
    start = nn.initializers.normal(0.02) if norm else nn.initializers.lecun_normal()
    decoder = networks.DCGANGenerator(splits.info.shape[:2], (128, 64), norm=norm, kernel_init=start)
    critic = networks.DCGANCritic((64, 128), norm=norm, kernel_init=start)
    model = games.gan(
        config.net(decoder),
        config.net(critic),
        prior=vifx.standard_normal(config.latent),
        proximal=config.proximal,
    )
    step = training.optimize(
        model.objective,
        optax.adam(config.learning_rate, b1=0.5),
        turns={"critic": turns, "model": turns},
        updates={"model": 2},
    )
    return generator.images(config, splits, model, step)
