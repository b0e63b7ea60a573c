"""Variational autoencoder on Fashion-MNIST, black and white or in 256 shades of grey.

Source:   Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
Command:  vifx train experiments/vae_fashion_mnist.py
          vifx train experiments/vae_fashion_mnist.py --likelihood discretized_logistic
Hardware: 2 CPU cores, about 2 minutes, the bounds included.
Metric:   −ELBO 238.2 and IWAE-1000 234.8 nats on the test split, binarized once with a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import vifx
from vifx import data, networks
from vifx.experiment import Experiment, PositiveInt, autoencoder


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """The options of this experiment."""

    steps: PositiveInt = 10_742
    """How many updates to make: 25 epochs by default."""
    evaluate_every: PositiveInt | None = 1000
    likelihood: autoencoder.Likelihood = "bernoulli"
    """Of a pixel: black or white, drawn anew for every minibatch, or one of the images' shades."""
    latent: PositiveInt = 32
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (400, 400)
    bound_examples: PositiveInt | None = 10_000
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    body, pixels = networks.MLP(config.hidden), autoencoder.pixels(splits, config.likelihood)
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)), inputs=(pixels.read,))
    decoder = networks.Conditional(body, pixels.head)
    encoder, decoder = (config.net(net) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    return autoencoder.experiment(config, splits, inference, generative, objective, pixels=pixels.kind)
