"""GAN on a ring of 8 Gaussians in the plane.

Source:   Goodfellow et al. (2014), arXiv:1406.2661; Mescheder et al. (2018), arXiv:1801.04406.
Command:  vifx train experiments/gan_ring.py
Hardware: 2 CPU cores, about half a minute.
Metric:   8 modes and 0.962 of samples within 3σ; a perfect generator has 0.989.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flax import linen as nn

import vifx
from vifx import data, games, networks
from vifx.experiment import Experiment, NonNegativeFloat, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.PointConfig):
    """The options of this experiment."""

    steps: PositiveInt = 12_000
    checkpoint_every: PositiveInt = 1000
    critic_hidden: tuple[PositiveInt, ...] = (64, 64)
    penalty: PositiveFloat = 0.1
    divergence: Literal["relativistic", "labelled_kl", "hinge", "least_squares", "wasserstein"] = "relativistic"
    """The game between critic and generator."""
    proximal: NonNegativeFloat = 0.0
    """Weight of the proximal term; it acts if updates is 2 or more."""
    updates: PositiveInt = 1
    """Updates of the generator on each minibatch of latents."""
    data: data.Config = field(default_factory=lambda: data.Config("ring", batch_size=256))


def build(config: Config) -> Experiment:
    """Build the evidence and the generator, the game between them, and what to measure and draw."""
    critic = networks.MLP(config.critic_hidden, activation=lambda x: nn.leaky_relu(x, 0.2))
    model = games.gan(
        networks.MLP(config.hidden, outputs=2, norm="batch"),
        networks.Critic(critic, inputs=(networks.FourierFeatures(32, 0.25),)),
        prior=vifx.standard_normal(config.latent),
        divergence=config.divergence,
        proximal=config.proximal,
        penalties=generator.falling_penalties(config),
    )
    return generator.points(config, model, updates=config.updates)
