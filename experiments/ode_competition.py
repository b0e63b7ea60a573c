"""Two species that compete: the parameters of their differential equation from seven points, with a posterior.

Source:   https://kexue.fm/archives/5643 (an ODE solver as a recurrent network), the worked case and its table.
Command:  vifx train experiments/ode_competition.py
          vifx train experiments/ode_competition.py --method euler --step 0.1
Hardware: 2 CPU cores, about a third of a minute.
Metric:   RSS 0.529, and bands that cover 0.94 of the true path; all 64 starts reach the least squares
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from vifx.core.types import Array
from vifx.experiment import Experiment, ode_posterior

TIMES = np.array([0.0, 10, 15, 30, 36, 40, 42])
TABLE = np.array([[100, 165, 197, 280, 305, 318, 324], [150, 283, 290, 276, 269, 266, 264]], float).T
PUBLISHED = np.log([0.1, 0.3, 0.002, 0.003, 1e-4, 2e-4])
"""Of the growth rates r, of crowding 1/N, and of meeting a, two each."""


@dataclass(frozen=True)
class Config(ode_posterior.Config):
    """The options of this experiment."""


def competition(x: Array, t: Array, theta: Array) -> Array:
    """``ẋ_i = r_i x_i (1 − x_i/N_i) − a_i x_1 x_2``."""
    del t
    rate, crowding, meeting = jnp.split(jnp.exp(theta), 3, axis=1)
    return rate * x * (1 - crowding * x) - meeting * x * x[:, ::-1]


def build(config: Config) -> Experiment:
    """Build the two joints over six parameters and a table that was rounded to integers."""
    guess = np.log([0.15, 0.2, 0.003, 0.002, 1.5e-4, 1.5e-4])
    return ode_posterior.experiment(
        config,
        ode_posterior.Model(
            field=competition,
            first=lambda theta: jnp.broadcast_to(jnp.asarray(TABLE[0], theta.dtype), (len(theta), 2)),
            seen=lambda path: path,
            times=TIMES,
            values=TABLE,
            known_start=True,
            species=("species 1", "species 2"),
            prior=(guess, np.full(6, 1.0)),
            noise=12**-0.5,  # of rounding
            truth=PUBLISHED,
            unit=("time", "number"),
            title="Competition of two species",
        ),
    )
