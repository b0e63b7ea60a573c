"""Adversarially learned inference on a grid of 25 narrow Gaussians in the plane, in all its forms.

Source:   Dumoulin et al. (2017), arXiv:1606.00704; Su (2018), GAN as variational inference, arXiv:1807.05936.
Command:  vifx train experiments/ali_grid25.py
          vifx train experiments/ali_grid25.py --form full
          vifx train experiments/ali_grid25.py --form truncated
Hardware: 2 CPU cores, about a minute.
Metric:   25 modes and 0.310 of samples within 3σ; a perfect generator has 0.989.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flax import linen as nn

import vifx
from vifx import data, games, networks
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, generator


@dataclass(frozen=True)
class Config(generator.PointConfig):
    """The options of this experiment."""

    steps: PositiveInt = 6000
    latent: PositiveInt = 2
    hidden: tuple[PositiveInt, ...] = (128, 128)
    critic_hidden: tuple[PositiveInt, ...] = (128, 128)
    form: Literal["nonsaturating", "minimax", "full", "truncated"] = "nonsaturating"
    """What the model minimizes; "truncated" is the published shortening, no descent direction for the encoder."""
    scale: PositiveFloat = 0.05
    """Standard deviation of x given z, for the densities that "full" needs."""
    penalty: PositiveFloat = 0.3
    last_penalty: PositiveFloat = 0.005
    data: data.Config = field(default_factory=lambda: data.Config("grid25", batch_size=256))


def build(config: Config) -> Experiment:
    """Build the two joints, both of which move, the labelled KL between them, and what to measure and draw."""
    body = networks.MLP(config.hidden, norm="batch")
    critic = networks.MLP(config.critic_hidden, activation=nn.silu)
    model = games.ali(
        networks.Conditional(body, networks.DiagonalNormal((config.latent,))),
        networks.Conditional(body, networks.NormalFixedScale((2,), config.scale)),
        networks.Critic(critic, inputs=(networks.FourierFeatures(32, 0.35), None)),
        prior=vifx.standard_normal(config.latent),
        deterministic=(),
        form=config.form,
        penalties=generator.falling_penalties(config),
    )
    # Two minibatches a phase, which "full" needs and the others see for comparison.
    return generator.points(config, model, turns=2)
