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

import optax
from flax import linen as nn

import vifx
from vifx import data, games, lipschitz, networks, training
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, adversarial, variational


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 6000
    """How many times both players take their turns."""
    log_every: PositiveInt = 500
    """Updates between two lines of metrics; also the length of one compiled scan."""
    checkpoint_every: PositiveInt = 1000
    """Updates between two checkpoints; the best is measured and drawn."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam at the start, for both players; it falls to 0 along a cosine."""
    latent: PositiveInt = 2
    """Dimension of z."""
    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the hidden layers of the generator."""
    critic_hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the hidden layers of the critic."""
    form: Literal["nonsaturating", "minimax", "full", "truncated"] = "nonsaturating"
    """What the model minimizes; "truncated" is the published shortening, no descent direction for the encoder."""
    scale: PositiveFloat = 0.05
    """Standard deviation of x given z, for the densities that "full" needs."""
    penalty: PositiveFloat = 0.3
    """Weight of R1 and R2, the critic's squared gradient at data and at samples, at the start."""
    last_penalty: PositiveFloat = 0.005
    """The same at the end of the first 70 % of the updates; it falls exponentially."""
    decay: PositiveFloat = 0.999
    """Of the average of the generator's parameters, which is what is measured and drawn."""
    data: data.Config = field(default_factory=lambda: data.Config("grid25", batch_size=256))
    """Which data set, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the two joints, both of which move, the labelled KL between them, and what to measure and draw."""
    points, modes = data.load(config.data), data.modes(config.data.name)
    encoder = networks.Conditional(networks.MLP(config.hidden, norm="batch"), networks.DiagonalNormal((config.latent,)))
    generator = networks.Conditional(
        networks.MLP(config.hidden, norm="batch"), networks.NormalFixedScale((2,), config.scale)
    )
    critic = networks.Critic(
        networks.MLP(config.critic_hidden, activation=nn.silu), inputs=(networks.FourierFeatures(32, 0.35), None)
    )
    weight = optax.exponential_decay(
        config.penalty, int(0.7 * config.steps), config.last_penalty / config.penalty, end_value=config.last_penalty
    )
    model = games.ali(
        encoder,
        generator,
        critic,
        prior=vifx.standard_normal(config.latent),
        deterministic=(),
        form=config.form,
        penalties=((weight, lipschitz.r1(1.0)), (weight, lipschitz.r2(1.0))),
    )
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, 2 * config.steps), b1=0.0, b2=0.99)
    # Two updates a phase, which "full" needs and the others make for comparison.
    step = training.optimize(model.objective, optimizer, turns={"model": 2})
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
        drawings={
            "modes": adversarial.draw_modes(model.generative, modes),
            "codes": variational.draw_codes(model.inference, {"x": points.test["x"]}),
        },
        best="-validation/high_quality",
        alarms=adversarial.alarms(modes=25),
        curves=adversarial.CURVES,
    )
