"""Prey and predators, of which only the prey are seen, with noise: the posterior of rates and first numbers.

Source:   Lotka (1925), Elements of physical biology; Volterra (1926), Fluctuations in the abundance of a species.
Command:  vifx train experiments/ode_lotka_volterra.py
Hardware: 2 CPU cores, about a third of a minute.
Metric:   RSS 372.9, and bands that cover 0.92 of the true path, the unseen predators' included
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from vifx.core.types import Array
from vifx.experiment import Experiment, NonNegativeInt, PositiveFloat, PositiveInt, ode_posterior

TRUTH = np.log([0.55, 0.028, 0.80, 0.024, 30.0, 4.0])
"""Of growth, predation, death, conversion, and of the first numbers of prey and predators."""


@dataclass(frozen=True)
class Config(ode_posterior.Config):
    """The options of this experiment."""

    step: PositiveFloat = 0.25
    spread: PositiveFloat = 0.3
    noise: PositiveFloat = 3.0
    """Standard deviation of an observation."""
    observations: PositiveInt = 41
    """How many times the prey are counted in 20 years."""
    data_seed: NonNegativeInt = 0
    """Seed of the noise of the observations."""


def predation(x: Array, t: Array, theta: Array) -> Array:
    """``ẋ = α x − β x y``, ``ẏ = δ x y − γ y``."""
    del t
    growth, predation, death, conversion = (rate[:, 0] for rate in jnp.split(jnp.exp(theta[:, :4]), 4, axis=1))
    prey, predators = x[:, 0], x[:, 1]
    met = prey * predators
    return jnp.stack([growth * prey - predation * met, conversion * met - death * predators], axis=1)


def build(config: Config) -> Experiment:
    """Build the two joints over four rates and two first numbers, and draw the observations."""
    times = np.linspace(0, 20, config.observations)
    growth, predated, death, conversion, *first = np.exp(TRUTH)

    def rates(_: float, x: NDArray[Any]) -> list[float]:
        return [growth * x[0] - predated * x[0] * x[1], conversion * x[0] * x[1] - death * x[1]]

    path = solve_ivp(rates, (0, 20), first, "DOP853", times, rtol=1e-9, atol=1e-9).y.T
    noise = np.random.RandomState(config.data_seed).standard_normal((len(times), 1))
    return ode_posterior.experiment(
        config,
        ode_posterior.Model(
            field=predation,
            first=lambda theta: jnp.exp(theta[:, 4:]),
            seen=lambda path: path[:, :, :1],
            times=times,
            values=path[:, :1] + config.noise * noise,
            known_start=False,
            species=("prey", "predators"),
            prior=(np.log([0.5, 0.03, 0.7, 0.03, 25.0, 5.0]), np.full(6, 0.5)),
            noise=config.noise,
            truth=TRUTH,
            unit=("years", "thousands"),
            title="Prey and predators",
        ),
    )
