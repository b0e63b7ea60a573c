"""Distributions with the conventions that every factor relies on.

All are NumPyro distributions: pytrees with a batch shape (the examples) and an event shape, `sample(key,
sample_shape)` and `log_prob(value)` in nats. Pixels that are images use `to_event` to become one event.
"""

from __future__ import annotations

__all__ = [
    "Bernoulli",
    "Categorical",
    "DiscretizedLogistic",
    "MixtureOfDiscretizedLogistics",
    "Normal",
    "standard_normal",
    "tempered",
    "uniform_categorical",
]

from vifx.distributions.bernoulli import Bernoulli
from vifx.distributions.categorical import Categorical, uniform_categorical
from vifx.distributions.discretized_logistic import DiscretizedLogistic
from vifx.distributions.mixture_of_discretized_logistics import MixtureOfDiscretizedLogistics
from vifx.distributions.normal import Normal, standard_normal
from vifx.distributions.tempered import tempered
