"""Variational autoencoder on scikit-learn's 8×8 handwritten digits.

Source:   Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
Command:  vifx train experiments/vae_digits.py
Hardware: 2 CPU cores, about half a minute.
Metric:   −ELBO 89.8 and IWAE-1000 85.4 nats on the test digits, in 17 shades of grey.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import vifx
from vifx import data, networks
from vifx.experiment import Experiment, PositiveInt, autoencoder


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """The options of this experiment."""

    steps: PositiveInt = 1000
    """How many updates to make; with 1,300 digits, more of them overfit."""
    checkpoint_every: PositiveInt = 100
    evaluate_every: PositiveInt | None = 100
    latent: PositiveInt = 8
    """Dimension of z."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    digits = data.load(config.data)
    shades = data.shades_of(digits.train)
    body = networks.MLP(config.hidden)
    encoder = networks.Conditional(body, networks.DiagonalNormal((config.latent,)), inputs=(networks.Pixels(),))
    decoder = networks.Conditional(body, networks.DiscretizedLogisticHead(digits.info.shape, shades))
    encoder, decoder = (config.net(net) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    return autoencoder.experiment(config, digits, inference, generative, objective)
