"""Two normals in 20 dimensions whose law is known, by EM: the table `twonorm` of the KEEL repository.

Source:   Dempster, Laird and Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm; the table is
          of Breiman (1996), Bias, variance, and arcing classifiers.
Command:  vifx train experiments/gmm_twonorm.py
Hardware: 2 CPU cores, about half a minute.
Metric:   KL 0.008 nats from the true density (standard error 0.002), row by row of the test split, whose log-likelihood
          is −28.943 against −28.935. Over eight splits it is 0.0041 on average; 43 parameters fitted to 5,328 rows cost
          43/(2·5,328) = 0.0040.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from vifx import data, em
from vifx.evaluation import exact_likelihood, known_law
from vifx.experiment import Experiment, PositiveFloat, PositiveInt, em_model


@dataclass(frozen=True)
class Config(em_model.Config):
    """The options of this experiment."""

    components: PositiveInt = 2
    """How many components."""
    covariance: Literal["full", "tied", "diagonal", "spherical"] = "spherical"
    """Which covariances the components have: each its own, one for all, diagonal, or one variance."""
    floor: PositiveFloat = 1e-3
    """The least variance in any direction."""
    data: data.Config = field(default_factory=lambda: data.Config("twonorm"))
    """Which data set of a known law, and how it is read."""


def build(config: Config) -> Experiment:
    """Build the mixture, and the experiment that EM makes of it beside the law of the data."""
    rows, law = data.load(config.data), data.modes(config.data.name)

    def make(size: int) -> em.Model:
        return em.mixture(em.gaussian, size, covariance=config.covariance, floor=config.floor)

    model, others = make(config.components), em_model.tried(config, make, rows)
    drawings = {"projection": known_law.draw_projection(model.generative, law)}
    built = em_model.experiment(config, model, rows, drawings=drawings, others=others)
    likelihoods = exact_likelihood.measure_exact_likelihood(model, rows, step=built.step, others=others)
    return dataclasses.replace(built, evaluate=known_law.measure_against_law(likelihoods, law, rows.test))
