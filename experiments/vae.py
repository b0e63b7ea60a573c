"""Variational autoencoder on data of one's own: a folder of images, an array, or a table.

The networks follow from the data's shape: convolutions for images of 16×16 pixels or more, dense layers for smaller
ones and for the rows of a table, whose columns are given the mean by the decoder and one learned scale.

Source:   Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114.
Command:  vifx train experiments/vae.py
          vifx train vae --data.path photos --data.size 32
          vifx train vae --data.path table.csv --data.label kind
Hardware: 2 CPU cores, about half a minute on scikit-learn's digits.
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
    """How many updates to make."""
    checkpoint_every: PositiveInt = 100
    evaluate_every: PositiveInt | None = 100
    latent: PositiveInt = 8
    """Dimension of z."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=128))


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    splits = data.load(config.data)
    shape, images = splits.info.shape, len(splits.info.shape) == 3
    if images:
        head = networks.DiscretizedLogisticHead(shape, data.shades_of(splits.train))
    else:
        head = networks.NormalGlobalScale(shape)
    encoder = networks.Conditional(
        networks.encoder_body(shape, config.hidden),
        networks.DiagonalNormal((config.latent,)),
        inputs=(networks.Pixels() if images else None,),
    )
    decoder = networks.Conditional(networks.decoder_body(shape, config.hidden), head)
    encoder, decoder = (config.net(net) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    pixels = "shades" if images else None
    return autoencoder.experiment(config, splits, inference, generative, objective, pixels=pixels)
