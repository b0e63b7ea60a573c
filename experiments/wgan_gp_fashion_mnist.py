"""Wasserstein GAN with a gradient penalty on Fashion-MNIST.

Source:   Gulrajani et al. (2017), Improved training of Wasserstein GANs, arXiv:1704.00028.
Command:  vifx train experiments/wgan_gp_fashion_mnist.py
Hardware: 2 CPU cores, about 2 minutes, which is short: it has not converged.
Metric:   FMD 116.0 and coverage 0.06 on the test split, 10,000 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import optax
from flax import linen as nn

import vifx
from vifx import data, games, lipschitz, networks, training
from vifx.experiment import Experiment, NonNegativeFloat, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.Config):
    """The options of this experiment."""

    steps: PositiveInt = 200
    checkpoint_every: PositiveInt = 100
    evaluate_every: PositiveInt | None = 100
    learning_rate: PositiveFloat = 1e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 100
    critic_turns: PositiveInt = 5
    """Minibatches that the critic sees in its turn."""
    penalty: NonNegativeFloat = 10.0
    """Weight of the two-sided gradient penalty."""
    decay: PositiveFloat = 0.97
    """Of the average of the generator's parameters, which is what is measured and drawn."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64, validation=5000))


def build(config: Config) -> Experiment:
    """Build the evidence and the generator, the Wasserstein distance between them, and what to measure and draw."""
    splits = data.load(config.data)
    decoder = networks.DCGANGenerator(splits.info.shape[:2], (128, 64))
    critic = networks.DCGANCritic((64, 128), kernel_init=nn.initializers.lecun_normal())
    model = games.gan(
        config.net(decoder),
        config.net(critic),
        prior=vifx.standard_normal(config.latent),
        divergence="wasserstein",
        penalties=(lipschitz.gradient_penalty(config.penalty),),
    )
    optimizer = optax.adam(config.learning_rate, b1=0.0, b2=0.9)
    step = training.optimize(model.objective, optimizer, turns={"critic": config.critic_turns})
    return generator.images(config, splits, model, training.averaged(step, config.decay))
