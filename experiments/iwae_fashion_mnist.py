"""Importance-weighted autoencoder on Fashion-MNIST, black and white or in shades: the bound with K samples is trained.

Source:   Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, arXiv:1509.00519.
Command:  vifx train experiments/iwae_fashion_mnist.py
Hardware: 2 CPU cores, about 28 minutes beside other work.
Metric:   −ELBO 252.0 and IWAE-1000 232.8 nats on the test split, binarized once with a fixed seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import vifx
from vifx import data, networks
from vifx.experiment import Experiment, PositiveInt, autoencoder


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """The options of this experiment."""

    steps: PositiveInt = 10_742
    """How many updates to make: 25 epochs by default."""
    evaluate_every: PositiveInt | None = 2000
    samples: PositiveInt = 50
    """K, the draws per example."""
    gradient: Literal["reparameterized", "sticking_the_landing", "doubly_reparameterized"] = "reparameterized"
    """The gradient estimator."""
    likelihood: autoencoder.Likelihood = "bernoulli"
    """Of a pixel: black or white, drawn anew for every minibatch, or one of the images' shades."""
    latent: PositiveInt = 32
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (400, 400)
    bound_examples: PositiveInt | None = 10_000
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=128, validation=5000))


def build(config: Config) -> Experiment:
    """Build the two joints, the importance-weighted bound, and what to measure and draw."""
    splits = data.load(config.data)
    body, pixels = networks.MLP(config.hidden), autoencoder.pixels(splits, config.likelihood)
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)), inputs=(pixels.read,))
    decoder = networks.Conditional(body, pixels.head)
    encoder, decoder = (config.net(net) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.importance_weighted(inference, generative, samples=config.samples, gradient=config.gradient)
    return autoencoder.experiment(config, splits, inference, generative, objective, pixels=pixels.kind)
