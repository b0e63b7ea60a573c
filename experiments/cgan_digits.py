"""Class-conditional GAN on scikit-learn's 8×8 handwritten digits: labels in both joints.

Source:   Mirza and Osindero (2014), arXiv:1411.1784; Miyato and Koyama (2018), arXiv:1802.05637.
Command:  vifx train experiments/cgan_digits.py
          vifx train experiments/cgan_digits.py --critic concatenated
Hardware: 2 CPU cores, about 40 seconds.
Metric:   FMD 4.2 and coverage 0.98 on the test split, 360 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import jax.numpy as jnp
import optax

import vifx
from vifx import data, games, lipschitz, nets, networks, training
from vifx.core.types import Batch
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, NonNegativeFloat, PositiveFloat, PositiveInt, adversarial, variational
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
    latent: PositiveInt = 32
    """Dimension of z."""
    critic: Literal["projection", "concatenated"] = "projection"
    """How the critic sees the label."""
    penalty: NonNegativeFloat = 1.0
    """Weight of the R1 penalty on the critic's gradient at data."""
    decay: PositiveFloat = 0.999
    """Of the average of the generator's parameters, which is what is measured and drawn."""
    quality_examples: PositiveInt = 360
    """Test images and samples that the quality is measured on."""
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=64))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build evidence and generator given the class y, the labelled KL between them, and what to measure and draw."""
    splits = data.load(config.data)
    classes = splits.info.classes or 1
    label = networks.OneHot(classes)
    generator = networks.DCGANGenerator(splits.info.shape[:2], (64, 32), inputs=(None, label))
    if config.critic == "projection":
        critic = networks.ProjectionCritic(networks.DCGANFeatures((64, 128)), classes)
    else:
        critic = networks.DCGANCritic((64, 128), inputs=(None, label))
    model = games.gan(
        nets.in_precision(generator, config.precision),
        nets.in_precision(critic, config.precision),
        prior=vifx.standard_normal(config.latent),
        given=("y",),
        penalties=(lipschitz.r1(config.penalty),) if config.penalty else (),
    )
    step = training.optimize(model.objective, optax.adam(config.learning_rate, b1=0.5))
    step = training.averaged(step, config.decay)

    def in_turn(n: int) -> Batch:
        return {"y": jnp.arange(n) % classes}

    sample = adversarial.sampler(model.generative, evidence=in_turn)
    features = lambda: feature_network(config.data)  # noqa: E731
    return Experiment(
        objective=model.objective,
        step=step,
        source=data.Resident(splits.train, config.data.batch_size, config.seed, data.normalize()),
        splits=splits,
        inference=model.inference,
        generative=model.generative,
        monitor=adversarial.image_quality(sample, splits.validation, features, n=len(splits.validation["x"])),
        evaluate=adversarial.image_quality(
            sample, splits.test, features, n=config.quality_examples, train=splits.train
        ),
        drawings={
            "samples": variational.draw_samples(
                sample, n=8 * classes, columns=classes, title="Samples, one class a column"
            ),
            "interpolation": adversarial.draw_interpolation(model.generative, evidence=in_turn),
        },
        sample=sample,
        best="validation/fmd",
        alarms=adversarial.alarms(monitored=("fmd", "coverage")),
        curves=adversarial.CURVES,
    )
