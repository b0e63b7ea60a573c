"""A Gaussian fitted to a mixture on the line by each f-divergence, from samples alone.

Source:   Nowozin et al. (2016), f-GAN, arXiv:1606.00709.
Command:  vifx train experiments/fgan_gaussian.py
          vifx train experiments/fgan_gaussian.py --divergence pearson
Hardware: 2 CPU cores, about a minute.
Metric:   mean 0.997 and scale 1.831; the exact optimum of KL is 1.000 and 1.831.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import jax.numpy as jnp
import optax

import vifx
from vifx import data, distributions, divergences, nets, networks, training
from vifx.core.types import Array, Key
from vifx.evaluation import known_law
from vifx.experiment import Config as BaseConfig
from vifx.experiment import Experiment, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options of this experiment."""

    steps: PositiveInt = 4000
    """How many times both players take their turns."""
    log_every: PositiveInt = 500
    divergence: Literal["kl", "reverse_kl", "pearson", "squared_hellinger", "jeffreys", "jensen_shannon", "gan"] = "kl"
    """Which divergence D(mixture ‖ Gaussian)."""
    critic: Literal["classifier", "bound"] = "classifier"
    """How the critic is fitted: by telling origins apart, or by the divergence's own bound."""
    critic_turns: PositiveInt = 5
    """Minibatches that the critic sees in its turn."""
    learning_rate: PositiveFloat = 1e-2
    """Step size of Adam at the start, for the Gaussian; the critic's is a tenth, and both fall to 0 along a cosine."""
    hidden: tuple[PositiveInt, ...] = (64, 64)
    """Widths of the hidden layers of the critic."""
    data: data.Config = field(default_factory=lambda: data.Config("fgan_mixture", batch_size=1024))


def build(config: Config) -> Experiment:
    """Build the evidence and a Gaussian with two parameters, the divergence, and what to measure and draw."""
    points, modes = data.load(config.data), data.modes(config.data.name)

    def init(key: Key) -> dict[str, Array]:
        del key  # both start at the standard normal
        return {"loc": jnp.zeros(1), "log_scale": jnp.zeros(1)}

    def normal(params: dict[str, Array]) -> distributions.Normal:
        return distributions.Normal(params["loc"], jnp.exp(params["log_scale"])).to_event(1)

    inference = vifx.Joint(vifx.evidence("x"))
    generative = vifx.Joint(vifx.factor("x", nets.from_functions(init, normal), name="gaussian"))
    divergence = divergences.named(config.divergence)
    objective = vifx.adversarial(
        inference,
        generative,
        networks.Critic(networks.MLP(config.hidden, activation=jnp.tanh)),
        on="x",
        divergence=divergence,
        form="minimax",
        critic_divergence="labelled_kl" if config.critic == "classifier" else None,
    )
    falling = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    turning = optax.cosine_decay_schedule(config.learning_rate / 10, config.critic_turns * config.steps)
    optimizers = {"critic": optax.adam(turning, b1=0.5), "model": optax.adam(falling, b1=0.5)}
    step = training.optimize(objective, optimizers, turns={"critic": config.critic_turns})
    optimum = known_law.best_normal(divergence, modes)
    return Experiment(
        objective=objective,
        step=step,
        source=data.source(points.train, config.data, seed=config.seed),
        splits=points,
        inference=inference,
        generative=generative,
        evaluate=known_law.measure_moments(generative),
        drawings={"density": known_law.draw_normal_fit(generative, modes, optimum=optimum)},
    )
