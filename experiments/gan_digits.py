"""f-GANs on scikit-learn's 8×8 handwritten digits: any divergence by its name.

Source:   Goodfellow et al. (2014), arXiv:1406.2661; Nowozin et al. (2016), f-GAN, arXiv:1606.00709.
Command:  vifx train experiments/gan_digits.py
          vifx train experiments/gan_digits.py --divergence pearson
Hardware: 2 CPU cores, about 40 seconds.
Metric:   FMD 10.5 and coverage 0.79 on the test split, 360 samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax

import vifx
from vifx import data, games, lipschitz, networks, training
from vifx.experiment import Experiment, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.Config):
    """The options of this experiment."""

    evaluate_every: PositiveInt | None = 500
    learning_rate: PositiveFloat = 2e-4
    """Step size of Adam, for both players."""
    latent: PositiveInt = 32
    divergence: Literal[
        "labelled_kl",
        "wasserstein",
        "hinge",
        "least_squares",
        "relativistic",
        "total_variation",
        "kl",
        "reverse_kl",
        "pearson",
        "neyman",
        "squared_hellinger",
        "jeffreys",
        "jensen_shannon",
        "gan",
    ] = "labelled_kl"
    """The divergence between data and samples."""
    form: Literal["nonsaturating", "minimax"] = "nonsaturating"
    """What the generator minimizes."""
    parametrization: Literal["ratio", "activation"] = "ratio"
    """Of an f-divergence: whether the critic outputs the log ratio; total_variation needs "activation"."""
    penalty: NonNegativeFloat = 1.0
    """Weight of the R1 penalty on the critic's gradient at data."""
    proximal: NonNegativeFloat = 0.0
    """Weight of the proximal term; it acts if updates is 2 or more."""
    updates: PositiveInt = 1
    """Updates of the generator on each minibatch of latents."""
    decay: PositiveFloat = 0.999
    """Of the average of the generator's parameters, which is what is measured and drawn."""
    quality_examples: NonNegativeInt = 360
    data: data.Config = field(default_factory=lambda: data.Config("digits", batch_size=64))


def build(config: Config) -> Experiment:
    """Build the evidence and the generator, the divergence between them, and what to measure and draw."""
    splits = data.load(config.data)
    model = games.gan(
        config.net(networks.DCGANGenerator(splits.info.shape[:2], (64, 32))),
        config.net(networks.DCGANCritic((64, 128))),
        prior=vifx.standard_normal(config.latent),
        divergence=config.divergence,
        form=config.form,
        parametrization=config.parametrization,
        proximal=config.proximal,
        penalties=(lipschitz.r1(config.penalty),) if config.penalty else (),
    )
    optimizer = optax.adam(config.learning_rate, b1=0.5)
    step = training.optimize(model.objective, optimizer, updates={"model": config.updates})
    return generator.images(config, splits, model, training.averaged(step, config.decay))
