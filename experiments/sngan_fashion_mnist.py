"""GAN with a spectrally normalized critic and the hinge loss on Fashion-MNIST.

Source:   Miyato et al. (2018), Spectral normalization for GANs, arXiv:1802.05957.
Command:  vifx train experiments/sngan_fashion_mnist.py
          vifx train experiments/sngan_fashion_mnist.py --network resnet
Hardware: 2 CPU cores, about 15 minutes.
Metric:   FMD 23.4 and coverage 0.24 on the test split, 10,000 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax
from flax import linen as nn

import vifx
from vifx import data, games, lipschitz, nets, networks, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, adversarial, variational
from vifx.experiment.features import feature_network


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 4000
    """How many times both players take their turns."""
    evaluate_every: PositiveInt | None = 500
    """Updates between two evaluations on the validation split; the best is kept."""
    learning_rate: PositiveFloat = 2e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 100
    """Dimension of z."""
    network: Literal["dcgan", "resnet"] = "dcgan"
    """The architecture; the residual one takes several times as long."""
    critic_turns: PositiveInt = 1
    """Minibatches that the critic sees in its turn."""
    decay: PositiveFloat = 0.999
    """Of the average of the generator's parameters, which is what is measured and drawn."""
    quality_examples: PositiveInt = 10_000
    """Test images and samples that the quality is measured on."""
    data: data.Config = field(default_factory=lambda: data.Config("fashion_mnist", batch_size=64, validation=5000))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the evidence and the generator, the hinge loss between them, and what to measure and draw."""
    splits = data.load(config.data)
    size = splits.info.shape[:2]
    if config.network == "dcgan":
        generator, critic = (
            networks.DCGANGenerator(size, (128, 64)),
            networks.DCGANCritic((64, 128), kernel_init=nn.initializers.lecun_normal()),
        )
    else:
        generator, critic = networks.SNResNetGenerator(size, (64, 64)), networks.SNResNetCritic((64, 64))
    model = games.gan(
        nets.in_precision(generator, config.precision),
        nets.in_precision(lipschitz.spectral_normalization(critic), config.precision),
        prior=vifx.standard_normal(config.latent),
        divergence="hinge",
    )
    optimizer = optax.adam(config.learning_rate, b1=0.5)
    step = training.optimize(model.objective, optimizer, turns={"critic": config.critic_turns})
    step = training.averaged(step, config.decay)

    sample = adversarial.sampler(model.generative)
    features = lambda: feature_network(config.data)  # noqa: E731
    return Experiment(
        objective=model.objective,
        step=step,
        source=data.Resident(splits.train, config.data.batch_size, config.seed, data.normalize()),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=adversarial.image_quality(sample, splits.validation, features, n=2000),
        evaluate=adversarial.image_quality(
            sample, splits.test, features, n=config.quality_examples, train=splits.train
        ),
        drawings={
            "samples": variational.draw_samples(sample),
            "interpolation": adversarial.draw_interpolation(model.generative),
        },
        sample=sample,
        best="validation/fmd",
        alarms=adversarial.alarms(monitored=("fmd", "coverage")),
        curves=adversarial.CURVES,
    )
