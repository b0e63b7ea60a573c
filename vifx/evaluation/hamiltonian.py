"""Hamiltonian Monte Carlo between two log-densities: one transition of many chains of many examples at once."""

from __future__ import annotations

__all__ = ["Place", "moved", "placed"]

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from vifx.core.types import Array

Densities: TypeAlias = tuple[Callable[[Array], Array], Callable[[Array], Array]]
"""The two ends of a path, as functions of latents ``[chains, examples, size]``."""
_JITTER = 0.2  # of the length of a step, so that no trajectory comes back to where it began


class Place(NamedTuple):
    """Where chains are, with what both ends of the path say of it.

    Attributes:
      z: ``[chains, examples, size]``.
      log_probs: of both ends, ``[2, chains, examples]`` in nats.
      gradients: of these, ``[2, chains, examples, size]``.
    """

    z: Array
    log_probs: Array
    gradients: Array

    def at(self, temperature: Array) -> tuple[Array, Array]:
        """Return ``(1 − β) log f₀ + β log f₁`` and its gradient."""
        weights = jnp.stack([1 - temperature, temperature])
        return jnp.tensordot(weights, self.log_probs, 1), jnp.tensordot(weights, self.gradients, 1)


def placed(densities: Densities, z: Array) -> Place:
    """Return the place of latents; what is not finite there is a log-density of −∞ without a gradient."""
    values, gradients = [], []
    for density in densities:
        value, back = jax.vjp(density, z)
        (gradient,) = back(jnp.ones_like(value))
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all(axis=-1)
        values.append(jnp.where(finite, value, -jnp.inf))
        gradients.append(jnp.where(finite[..., None], gradient, 0))
    return Place(z, jnp.stack(values), jnp.stack(gradients))


def moved(
    keys: Array,
    densities: Densities,
    place: Place,
    *,
    temperature: Array,
    length: Array,
    scale: Array,
    leapfrog: int,
) -> tuple[Place, Array]:
    """Make one transition that leaves ``exp((1 − β) log f₀ + β log f₁)`` as it is, and is its own reverse.

    Momenta are drawn anew; the leapfrog integrator makes some steps, whose length varies by a fifth either way; and the
    end is taken with probability ``min(1, exp(−ΔH))``. The mass of a coordinate is one over its squared scale.

    Args:
      keys: one for each example, ``[examples]``.
      temperature: β, inverse, from 0 to 1.
      length: of a leapfrog step, in units of `scale`.
      scale: ``[examples, size]``.
      leapfrog: how many steps.

    Returns:
      The new place, and the probability with which each move was taken, ``[chains, examples]``.

    Reference: Neal (2011), MCMC using Hamiltonian dynamics, arXiv:1206.1901.
    """
    chains, _, size = place.z.shape
    parts = jax.vmap(partial(jax.random.split, num=3))(keys)

    def noise(draw: Callable[..., Array], part: int, shape: tuple[int, ...]) -> Array:
        each = jax.vmap(lambda key: draw(key, (chains, *shape), place.z.dtype))(parts[:, part])
        return jnp.moveaxis(each, 0, 1)

    momentum = noise(jax.random.normal, 0, (size,))
    step = length * (1 + _JITTER * (2 * noise(jax.random.uniform, 1, (1,)) - 1))
    threshold = jnp.log(noise(jax.random.uniform, 2, ()))
    value, gradient = place.at(temperature)

    def one(carry: tuple[Place, Array, Array], _: None) -> tuple[tuple[Place, Array, Array], None]:
        here, slope, momentum = carry
        momentum = momentum + step / 2 * scale[None] * slope
        here = placed(densities, here.z + step * scale[None] * momentum)
        slope = here.at(temperature)[1]
        return (here, slope, momentum + step / 2 * scale[None] * slope), None

    (there, _, last), _ = jax.lax.scan(one, (place, gradient, momentum), length=leapfrog)
    kinetic = 0.5 * (jnp.sum(momentum**2, axis=-1) - jnp.sum(last**2, axis=-1))
    change = there.at(temperature)[0] - value + kinetic
    change = jnp.where(jnp.isnan(change), -jnp.inf, change)
    taken = threshold < change

    after = Place(
        jnp.where(taken[..., None], there.z, place.z),
        jnp.where(taken[None], there.log_probs, place.log_probs),
        jnp.where(taken[None, ..., None], there.gradients, place.gradients),
    )
    return after, jnp.exp(jnp.minimum(change, 0))
