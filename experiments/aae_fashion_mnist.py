"""Adversarial autoencoder on Fashion-MNIST: a critic on the codes, and reconstruction.

Source:   Makhzani et al. (2015), Adversarial autoencoders, arXiv:1511.05644.
Command:  vifx train experiments/aae_fashion_mnist.py
Hardware: 2 CPU cores, about 90 seconds.
Metric:   FMD 18.9 and coverage 0.74 on the test split, 10,000 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import optax

import vifx
from vifx import data, games, networks, training
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.Config):
    """The options of this experiment."""

    steps: PositiveInt = 8000
    evaluate_every: PositiveInt | None = 1000
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam, for encoder and decoder; the critic's is half of it."""
    scale: PositiveFloat = 0.5
    """Standard deviation σ of a pixel given its mean: the reconstruction weighs 1/2σ²."""
    hidden: tuple[PositiveInt, ...] = (512, 512)
    """Widths of the hidden layers of encoder, decoder and critic."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))


def build(config: Config) -> Experiment:
    """Build the two joints, a critic on z with reconstruction, and what to measure and draw."""
    splits = data.load(config.data)
    body = networks.MLP(config.hidden)
    encoder = networks.MLP(config.hidden, outputs=config.latent)
    decoder = networks.Conditional(body, networks.NormalFixedScale(splits.info.shape, config.scale))
    encoder, decoder = (config.net(net) for net in (encoder, decoder))
    prior = vifx.standard_normal(config.latent)
    model = games.aae(encoder, decoder, networks.Critic(body), prior=prior)
    optimizers = {
        "critic": optax.adam(config.learning_rate / 2, b1=0.5),
        "model": optax.adam(config.learning_rate, b1=0.5),
    }
    step = training.optimize(model.objective, optimizers)
    return generator.images(config, splits, model, step, low=0.0, drawn=("samples", "reconstructions", "codes"))
