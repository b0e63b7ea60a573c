"""Adam with warm-up, cosine and clipped gradients, and an average of the parameters: the options, and the step."""

from __future__ import annotations

__all__ = ["Config", "trainer"]

from dataclasses import dataclass

import jax
import optax

from vifx import training
from vifx.core.objective import Objective
from vifx.core.types import PyTree
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.rules import NonNegativeInt, PositiveFloat
from vifx.training import Step


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that experiments which are trained so have in common."""

    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam after the warm-up; it falls to 0 along a cosine."""
    warmup: NonNegativeInt = 100
    """Updates over which the step size rises from 0; at most a tenth of all."""
    clip: PositiveFloat = 10.0
    """The largest norm of a gradient; longer ones are scaled down to it."""
    decay: PositiveFloat = 0.99
    """Of the average of the parameters, which is what is measured and drawn."""


def trainer(objective: Objective, config: Config, *, weight_decay: float = 0.0) -> Step:
    """Return the step: Adam with warm-up, cosine and clipped gradients, and an average of the parameters.

    Args:
      weight_decay: what an update takes from the weights of the couplings' networks, as a share of the step size. Their
        biases are left alone, so that what is taken is the dependence of one half on the other.
    """
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(config.warmup, config.steps // 10), config.steps
    )
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=_weights) if weight_decay else optax.adam(rate)
    optimizer = optax.chain(optax.clip_by_global_norm(config.clip), adam)
    return training.averaged(training.optimize(objective, optimizer), config.decay)


def _weights(params: PyTree) -> PyTree:
    """Say of each leaf whether it is a weight of a network."""
    return jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path[-1:]) == "['weight']", params)
