"""Experiments that infer the parameters of a differential equation: their options, their training, what they draw."""

from __future__ import annotations

__all__ = ["Config", "Model", "experiment"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from vifx import data, dynamics, training
from vifx.core.factor import evidence, factor
from vifx.core.joint import Joint
from vifx.core.types import Array, Key
from vifx.distributions import MultivariateNormal, Normal
from vifx.dynamics import LeastSquares
from vifx.evaluation import ode_paths
from vifx.evaluation.ode_paths import OdeData
from vifx.experiment.config import Config as BaseConfig
from vifx.experiment.file import Experiment
from vifx.experiment.rules import PositiveFloat, PositiveInt
from vifx.variational import kl


@dataclass(frozen=True)
class Config(BaseConfig):
    """The options that experiments with a differential equation have in common; those of `data` do nothing."""

    steps: PositiveInt = 1000
    log_every: PositiveInt = 100
    method: Literal["euler", "midpoint", "heun", "rk4"] = "rk4"
    """How the equation is solved."""
    step: PositiveFloat = 1.0
    """The longest step of the solution, in the unit of the time."""
    samples: PositiveInt = 16
    """Draws of the posterior in an update."""
    learning_rate: PositiveFloat = 0.02
    """Step size of Adam, which falls to 0 along a cosine."""
    starts: PositiveInt = 64
    """How many starts least squares have."""
    spread: PositiveFloat = 0.6
    """Starts are drawn within this distance of the prior's means, in logarithms of parameters."""
    draws: PositiveInt = 2000
    """Draws of the posterior that are measured and drawn."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A differential equation of positive parameters, and what was observed.

    Attributes:
      field: ``(x, t, theta) -> dx/dt`` with theta ``[rows, d]``, the logarithms of the parameters.
      first: theta to the states at the first time, ``[rows, species]``.
      seen: paths ``[rows, times, species]`` to what is observed of them.
      times: of the observations, the first of which is that of the first states.
      values: the observations, ``[times, observed]``; of the first time too, but where it is known.
      known_start: whether the first states are known, so that nothing is observed there.
      species: their names.
      prior: means and standard deviations of theta, ``[d]`` each.
      noise: the standard deviation of an observation.
      truth: the true theta, ``[d]``.
      unit: of time and states.
      title: of the figure.
    """

    field: Callable[[Array, Array, Array], Array]
    first: Callable[[Array], Array]
    seen: Callable[[Array], Array]
    times: NDArray[Any]
    values: NDArray[Any]
    known_start: bool
    species: Sequence[str]
    prior: tuple[NDArray[Any], NDArray[Any]]
    noise: float
    truth: NDArray[Any]
    unit: tuple[str, str]
    title: str


def experiment(config: Config, model: Model) -> Experiment:
    """Return the experiment: the posterior by the KL of two joints, beside least squares from many starts."""
    config.data.require_resident("the observations of one path are all of the data")
    skipped = 1 if model.known_start else 0
    x = np.asarray(model.values[None, skipped:], np.float32)
    loc, scale = (jnp.asarray(part, jnp.float32) for part in model.prior)

    def solved(theta: Array, times: NDArray[Any]) -> Array:
        how = {"method": config.method, "step": config.step}
        return dynamics.solve(model.field, model.first(theta), times, theta, **how)

    def observation(theta: Array) -> Any:
        path = model.seen(solved(theta, model.times))[:, skipped:]
        return Normal(path, jnp.asarray(model.noise, path.dtype)).to_event(2)

    def start(key: Key, x: Array) -> tuple[Array, Array]:
        def residuals(theta: Array) -> tuple[Array, Array]:
            return (x[:1] - observation(theta[None]).base_dist.loc) / model.noise, (theta - loc) / scale

        return dynamics.laplace(residuals, _around(key, config, loc))

    inference = Joint(evidence("x"), factor("theta | x", dynamics.gaussian_around(start), name="posterior"))
    generative = Joint(factor("theta", MultivariateNormal(loc, jnp.diag(scale))), factor("x | theta", observation))
    objective = kl(inference, generative, samples=config.samples)
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))
    grid = np.linspace(model.times[0], model.times[-1], 121)
    shown = OdeData(
        times=model.times,
        values=_shown(model),
        grid=grid,
        species=model.species,
        paths=lambda theta: solved(theta, grid),
        truth=model.truth,
        unit=model.unit,
    )
    fit = _least_squares(config, model, loc)
    return Experiment(
        objective=objective,
        step=training.optimize(objective, optimizer),
        source=data.Full({"x": x}),
        splits=None,
        inference=inference,
        generative=generative,
        evaluate=ode_paths.measure_bands(inference, x, shown, fit, draws=config.draws),
        drawings={"bands": ode_paths.draw_bands(inference, x, shown, fit, title=model.title, draws=config.draws)},
    )


def _around(key: Key, config: Config, loc: Array) -> Array:
    u = jax.random.uniform(key, (config.starts, loc.size), loc.dtype, -config.spread, config.spread)
    return loc[None] + u


def _shown(model: Model) -> NDArray[Any]:
    """Return the observations of each species, NaN for those that are not seen, ``[times, species]``."""
    count = len(model.species)
    index = np.asarray(model.seen(jnp.arange(count, dtype=jnp.float32)[None, None]))[0, 0].astype(int)
    values = np.full((len(model.times), count), np.nan)
    values[:, index] = model.values
    return values


def _least_squares(config: Config, model: Model, loc: Array) -> Callable[[], LeastSquares]:
    """Return a function that fits once."""
    found: list[LeastSquares] = []

    def fit() -> LeastSquares:
        if not found:
            first = model.first(loc[None]) if model.known_start else model.first
            found.append(
                dynamics.fit_ode(
                    model.field,
                    _around(jax.random.key(config.seed), config, loc),
                    model.times,
                    np.asarray(model.values[None], np.float32),
                    x0=first,
                    observe=model.seen,
                    positive=False,
                    continuity=(),
                    method=config.method,
                    step=config.step,
                )
            )
        return found[0]

    return fit
