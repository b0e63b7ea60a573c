"""GAN on a grid of 25 narrow Gaussians in the plane.

Source:   Jolicoeur-Martineau (2019), arXiv:1807.00734; Mescheder et al. (2018), arXiv:1801.04406.
Command:  vifx train experiments/gan_grid25.py
Hardware: 2 CPU cores, about a minute.
Metric:   25 modes and 0.865 of samples within 3σ; a perfect generator has 0.989.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import optax
from flax import linen as nn

import vifx
from vifx import data, games, lipschitz, networks, training
from vifx.core.types import Array
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, NonNegativeFloat, PositiveFloat, PositiveInt, adversarial


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 20_000
    """How many times both players take their turns."""
    log_every: PositiveInt = 500
    """Updates between two lines of metrics; also the length of one compiled scan."""
    checkpoint_every: PositiveInt = 2000
    """Updates between two checkpoints; the best is measured and drawn."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam at the start, for both players; it falls to 0 along a cosine."""
    latent: PositiveInt = 4
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (128, 128, 128)
    """Widths of the hidden layers of the generator."""
    critic_hidden: tuple[PositiveInt, ...] = (64, 64, 64)
    """Widths of the hidden layers of the critic."""
    divergence: Literal["relativistic", "labelled_kl", "hinge", "least_squares", "wasserstein"] = "relativistic"
    """The game between critic and generator."""
    penalty: PositiveFloat = 0.3
    """Weight of R1 and R2, the critic's squared gradient at data and at samples, at the start."""
    last_penalty: PositiveFloat = 0.002
    """The same at the end of the first 70 % of the updates; it falls exponentially."""
    proximal: NonNegativeFloat = 0.0
    """Weight of the proximal term; it acts if updates is 2 or more."""
    updates: PositiveInt = 1
    """Updates of the generator on each minibatch of latents."""
    decay: PositiveFloat = 0.999
    """Of the average of the generator's parameters, which is what is measured and drawn."""
    data: data.Config = field(default_factory=lambda: data.Config("grid25", batch_size=256))
    """Which data set, and how it is read."""


def _leaky(x: Array) -> Array:
    return nn.leaky_relu(x, 0.2)


def build(config: Config) -> Experiment:
    """Build the evidence and the generator, the game between them, and what to measure and draw."""
    points, modes = data.load(config.data), data.modes(config.data.name)
    generator = networks.MLP(config.hidden, outputs=2, norm="batch")
    critic = networks.Critic(
        networks.MLP(config.critic_hidden, activation=_leaky), inputs=(networks.FourierFeatures(32, 0.35),)
    )
    weight = optax.exponential_decay(
        config.penalty, int(0.7 * config.steps), config.last_penalty / config.penalty, end_value=config.last_penalty
    )
    model = games.gan(
        generator,
        critic,
        prior=vifx.standard_normal(config.latent),
        divergence=config.divergence,
        proximal=config.proximal,
        penalties=((weight, lipschitz.r1(1.0)), (weight, lipschitz.r2(1.0))),
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps), b1=0.0, b2=0.99)
    step = training.optimize(model.objective, optimizer, updates={"model": config.updates})
    step = training.averaged(step, config.decay)
    return Experiment(
        objective=model.objective,
        step=step,
        source=data.Resident(points.train, config.data.batch_size, config.seed),
        splits=points,
        inference=model.inference,
        generative=model.generative,
        monitor=adversarial.mode_monitor(model.generative, modes),
        evaluate=adversarial.mode_monitor(model.generative, modes, n=10_000),
        drawings={"modes": adversarial.draw_modes(model.generative, modes)},
        best="-validation/high_quality",
        alarms=adversarial.alarms(modes=25),
        curves=adversarial.CURVES,
    )
