"""Targets in the plane, densities up to a constant that quadrature finds, and what a flow that fits one reaches."""

from __future__ import annotations

__all__ = ["TARGETS", "Grid", "banana", "draw_target", "measure_target", "quadrature", "two_rings", "wave"]

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.core.joint import Joint
from vifx.core.types import Array, Key, Params, State
from vifx.evaluation.estimate import Estimate
from vifx.evaluation.measure import Drawing, Measure
from vifx.evaluation.plane import draw_density
from vifx.variational import importance_weighted

LogDensity = Callable[[Array], Array]


def two_rings(z: Array) -> Array:
    """A ring of radius 2 with two hills: ``−½((‖z‖ − 2)/0.4)² + log(e^{−½((z₁−2)/0.6)²} + e^{−½((z₁+2)/0.6)²})``.

    The first target of Rezende & Mohamed (2015), arXiv:1505.05770, table 1. In nats, ``[examples]``.
    """
    radius = jnp.sqrt(jnp.sum(z**2, axis=-1) + 1e-12)
    hills = jnp.logaddexp(-0.5 * ((z[..., 0] - 2) / 0.6) ** 2, -0.5 * ((z[..., 0] + 2) / 0.6) ** 2)
    return -0.5 * ((radius - 2) / 0.4) ** 2 + hills


def wave(z: Array) -> Array:
    """A band along a sine: ``−½((z₂ − sin(½πz₁))/0.4)² − ½(z₁/2.5)⁸``, in nats, ``[examples]``.

    The second target of Rezende & Mohamed (2015), arXiv:1505.05770, table 1, with its ends closed.
    """
    return -0.5 * ((z[..., 1] - jnp.sin(0.5 * jnp.pi * z[..., 0])) / 0.4) ** 2 - 0.5 * (z[..., 0] / 2.5) ** 8


def banana(z: Array) -> Array:
    """A bent Gaussian: ``−½(z₁/1.2)² − ½((z₂ − 0.3z₁² + 1)/0.35)²``, in nats, ``[examples]``.

    After Haario, Saksman & Tamminen (1999), Adaptive proposal distribution for random walk Metropolis algorithm.
    """
    return -0.5 * (z[..., 0] / 1.2) ** 2 - 0.5 * ((z[..., 1] - 0.3 * z[..., 0] ** 2 + 1) / 0.35) ** 2


TARGETS: Mapping[str, LogDensity] = MappingProxyType({"two_rings": two_rings, "wave": wave, "banana": banana})
"""Unnormalized log-densities in the plane by name, ``[examples, 2] -> [examples]`` in nats."""


class Grid(NamedTuple):
    """A density in the plane by the midpoint rule.

    Attributes:
      log_z: the logarithm of its integral, in nats.
      points: the middles of the cells, ``[cells, 2]``.
      probability: of each cell, ``[cells]``.
      step: the width of a cell.
    """

    log_z: float
    points: NDArray[Any]
    probability: NDArray[Any]
    step: float


def quadrature(log_density: LogDensity, *, limit: float = 10.0, resolution: int = 1000) -> Grid:
    """Integrate a density over the square ``[−limit, limit]²``.

    Args:
      log_density: ``[examples, 2] -> [examples]`` in nats.
      limit: half the side; outside the density must be negligible.

    Raises:
      ValueError: more than a millionth of the mass is at the border of the square.
    """
    step = 2 * limit / resolution
    ticks = -limit + step * (np.arange(resolution) + 0.5)
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    values = np.asarray(jax.jit(log_density)(jnp.asarray(points, jnp.float32)), np.float64)
    total = float(np.logaddexp.reduce(values))
    log_z = total + 2 * math.log(step)
    probability = np.exp(values - total)
    border = np.abs(points).max(axis=1) > limit - 1.5 * step
    if probability[border].sum() > 1e-6:
        raise ValueError(f"limit {limit} cuts the density: {probability[border].sum():.1e} of it is at the border.")
    return Grid(log_z, points, probability, step)


def measure_target(
    inference: Joint, generative: Joint, log_density: LogDensity, *, samples: int = 10_000, repeats: int = 20
) -> Measure:
    """Measure how well a flow covers a target: the bound, the importance-weighted evidence, the effective samples.

    ``log_evidence`` is ``log (1/K) Σ_k w_k`` with ``w = target/flow``, which tends to log Z; ``elbo`` the mean of
    log w, below log Z by the reverse KL; ``effective_share`` is ``(Σ w)² / (K Σ w²)``, 1 for a perfect fit; ``log_z``
    is the quadrature of the target.

    Args:
      repeats: how many times K draws are made, for the standard errors.
    """
    loss = importance_weighted(inference, generative, samples=samples).players["model"].loss

    @jax.jit
    def one(key: Key, params: Params, state: State) -> Mapping[str, Array]:
        return loss(key, params, state, {}, train=False)[1].metrics

    def measure(key: Key, params: Params, state: State) -> Mapping[str, Estimate | float]:
        rows = [one(jax.random.fold_in(key, index), params, state) for index in range(repeats)]
        values = {name: np.asarray([row[name] for row in rows], np.float64) for name in rows[0]}
        return {
            "elbo": Estimate(values["elbo"]),
            "log_evidence": Estimate(values["iwae"]),
            "effective_share": Estimate(values["effective_samples"] / samples),
            "log_z": quadrature(log_density).log_z,
        }

    return measure


def draw_target(inference: Joint, log_density: LogDensity, *, n: int = 4000, title: str = "") -> Drawing:
    """Draw a flow's density between `n` points of the target, drawn from its quadrature, and as many of its own.

    Args:
      inference: the flow of ``z``.
    """

    def points(key: Key) -> NDArray[Any]:
        grid = quadrature(log_density)
        choice, jitter = jax.random.split(key)
        cells = jax.random.choice(choice, len(grid.points), (n,), p=jnp.asarray(grid.probability, jnp.float32))
        inside = np.asarray(jax.random.uniform(jitter, (n, 2)), np.float64) - 0.5
        return grid.points[np.asarray(cells)] + grid.step * inside

    return draw_density(inference, points, variable="z", n=n, title=title, name="target")
