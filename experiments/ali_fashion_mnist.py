"""Adversarially learned inference on Fashion-MNIST: images and codes against samples and latents.

Source:   Dumoulin et al. (2017), arXiv:1606.00704; Su (2018), GAN as variational inference, arXiv:1807.05936.
Command:  vifx train experiments/ali_fashion_mnist.py
          vifx train experiments/ali_fashion_mnist.py --form truncated
Hardware: 2 CPU cores, about 100 seconds, which is short: it has not converged.
Metric:   FMD 111.3 and coverage 0.08 on the test split, 10,000 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, games, networks, training
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.Config):
    """The options of this experiment."""

    steps: PositiveInt = 800
    checkpoint_every: PositiveInt = 400
    evaluate_every: PositiveInt | None = 400
    learning_rate: PositiveFloat = 2e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 32
    form: Literal["nonsaturating", "minimax", "truncated"] = "nonsaturating"
    """What the model minimizes; "truncated" is the published shortening, no descent direction for the encoder."""
    decay: PositiveFloat = 0.999
    """Of the average of the parameters, which is what is measured and drawn."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64, validation=5000))


def build(config: Config) -> Experiment:
    """Build the two joints, both of which move, the labelled KL between them, and what to measure and draw."""
    splits = data.load(config.data)
    encoder = networks.Conditional(networks.ConvEncoder((32, 64)), networks.DiagonalNormal((config.latent,)))
    decoder = networks.DCGANGenerator(splits.info.shape[:2], (128, 64))
    critic = networks.PairCritic(networks.DCGANFeatures((64, 128)), networks.MLP((256,)), (256,))
    encoder, decoder, critic = (config.net(net) for net in (encoder, decoder, critic))
    model = games.ali(encoder, decoder, critic, prior=vifx.standard_normal(config.latent), form=config.form)
    step = training.optimize(model.objective, optax.adam(config.learning_rate, b1=0.5))
    step = training.averaged(step, config.decay)
    drawn = ("samples", "reconstructions", "codes", "interpolation")
    return generator.images(config, splits, model, step, drawn=drawn)
