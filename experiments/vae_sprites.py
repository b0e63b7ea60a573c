"""Variational autoencoder with convolutions on 5,000,000 generated images of ellipses, squares and hearts.

Every image is made when it is read, so that the data set takes neither memory nor disk, and no image is seen twice.

Source:   Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114; Matthey, Higgins, Hassabis and
          Lerchner (2017), dSprites, for the kind of images.
Command:  vifx train experiments/vae_sprites.py
Hardware: 2 CPU cores, about 6 minutes of processor time.
Metric:   −ELBO 103.6 and IWAE-1000 98.9 nats on the test split (the latter on 200 images of it, standard error 2.5),
          binarized once with a fixed seed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import vifx
from vifx import data, evaluation, nets, networks
from vifx.evaluation.measure import both
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, autoencoder


@dataclass(frozen=True)
class Config(autoencoder.Config):
    """The options of this experiment."""

    steps: PositiveInt = 3000
    evaluate_every: PositiveInt | None = 1000
    learning_rate: PositiveFloat = 2e-3
    """Step size of Adam."""
    latent: PositiveInt = 8
    """Dimension of z; an image has six factors, of which the shape is one."""
    channels: tuple[PositiveInt, ...] = (8, 16, 32, 32)
    """Channels of the encoder's convolutions, each of stride 2; the decoder has them in reverse order."""
    hidden: tuple[PositiveInt, ...] = (128,)
    """Widths of the hidden layers between the convolutions and z."""
    bound_examples: PositiveInt | None = 200
    data: data.Config = field(
        default_factory=lambda: data.Config("sprites", batch_size=64, validation=2000, streaming=True)
    )


def build(config: Config) -> Experiment:
    """Build the two joints, KL(inference ‖ generative), and what to measure and draw."""
    sprites = data.load(config.data)
    between = networks.MLP(config.hidden)
    below = networks.Conditional(networks.ConvEncoder(config.channels), between)
    above = networks.Conditional(between, networks.ConvDecoder(sprites.info.shape[:2], config.channels[::-1]))
    encoder = networks.Conditional(below, networks.DiagonalNormal((config.latent,)))
    decoder = networks.Conditional(above, networks.BernoulliHead(sprites.info.shape))
    encoder, decoder = (nets.in_precision(net, config.precision) for net in (encoder, decoder))

    inference = vifx.Joint(vifx.evidence("x"), vifx.factor("z | x", encoder, name="encoder"))
    generative = vifx.Joint(
        vifx.factor("z", vifx.standard_normal(config.latent)), vifx.factor("x | z", decoder, name="decoder")
    )
    objective = vifx.kl(inference, generative)
    built = autoencoder.experiment(config, sprites, inference, generative, objective, pixels="binary")
    seen = data.fixed_binarization(sprites.test, 0)
    factors = dict(zip(("size", "angle", "column", "row"), sprites.test["factors"].T, strict=True))
    known = {"shape": sprites.test["y"], **factors}
    disentanglement = evaluation.measure_disentanglement(inference, seen, known)
    return dataclasses.replace(built, evaluate=both(built.evaluate, disentanglement))
