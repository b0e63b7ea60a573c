"""Distributions with the conventions that every factor relies on.

The families are NumPyro distributions: pytrees with a batch shape (the examples) and an event shape, `sample(key,
sample_shape)` and `log_prob(value)` in nats. Pixels that are images use `to_event` to become one event. `PointMass`,
`Transformed` and `Unnormalized` are what `implicit`, `transformed` and `target` factors make.
"""

from __future__ import annotations

__all__ = [
    "AffineNormal",
    "Autoregressive",
    "Bernoulli",
    "Categorical",
    "Chain",
    "DiscretizedLogistic",
    "EachStep",
    "Finite",
    "GaussianChain",
    "MarkovChain",
    "MixtureOf",
    "MixtureOfDiscretizedLogistics",
    "Multinomial",
    "MultivariateNormal",
    "MultivariateStudentT",
    "Normal",
    "PointMass",
    "Poisson",
    "Transformed",
    "Unnormalized",
    "standard_normal",
    "tempered",
    "uniform_categorical",
]

from vifx.distributions.affine_normal import AffineNormal
from vifx.distributions.autoregressive import Autoregressive
from vifx.distributions.bernoulli import Bernoulli
from vifx.distributions.categorical import Categorical, uniform_categorical
from vifx.distributions.chain_distribution import Chain
from vifx.distributions.discretized_logistic import DiscretizedLogistic
from vifx.distributions.each_step import EachStep
from vifx.distributions.finite import Finite
from vifx.distributions.gaussian_chain import GaussianChain
from vifx.distributions.markov_chain import MarkovChain
from vifx.distributions.mixture_of import MixtureOf
from vifx.distributions.mixture_of_discretized_logistics import MixtureOfDiscretizedLogistics
from vifx.distributions.multinomial import Multinomial
from vifx.distributions.multivariate_normal import MultivariateNormal
from vifx.distributions.normal import Normal, standard_normal
from vifx.distributions.point_mass import PointMass
from vifx.distributions.poisson import Poisson
from vifx.distributions.student_t import MultivariateStudentT
from vifx.distributions.tempered import tempered
from vifx.distributions.transformed import Transformed
from vifx.distributions.unnormalized import Unnormalized
