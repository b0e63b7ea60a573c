"""Bijections one after another."""

from __future__ import annotations

__all__ = ["chain"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require
from vifx.core.types import Array, Bijection, Key, PyTree, Velocity
from vifx.flows.bijections.noise import noise_of
from vifx.flows.checked import A_BIJECTION, checked


def chain(*bijections: Bijection) -> Bijection:
    """Compose bijections in the order from data to base: ``z = f_n(… f_1(x))``, equation (3).

    ``log|det ∂z/∂x| = Σ_i log|det ∂f_i|`` in nats. Each is initialized on what the ones before it make of the first
    batch, so that data-dependent initializations see what they will be given.

    Args:
      *bijections: at least one; `chain(a, b).forward` applies `a` first.

    Returns:
      A bijection whose parameters and state are tuples with one entry per bijection. Its velocity is that of the one
      which has any, between what the others do before and after it.

    Raises:
      ValueError: no bijection.
      TypeError: something that is not a `Bijection`.
    """
    if not bijections:
        raise ValueError("chain: bijections is empty; compose at least one, or use flows.identity().")
    for item in bijections:
        require(item, Bijection, "chain: every argument", *A_BIJECTION)

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        params, state = [], []
        for index, item in enumerate(bijections):
            own = jax.random.fold_in(key, index)
            own_params, own_state = item.init(jax.random.fold_in(own, 0), x, given)
            if index < len(bijections) - 1:
                x, _ = item.forward(own_params, own_state, x, given, key=jax.random.fold_in(own, 1))
            params.append(own_params)
            state.append(own_state)
        return tuple(params), tuple(state)

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        total = jnp.zeros(x.shape[0], x.dtype)
        for index, item in enumerate(bijections):
            x, log_det = item.forward(params[index], state[index], x, given, key=noise_of(key, index))
            total = total + log_det
        return x, total

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        total = jnp.zeros(z.shape[0], z.dtype)
        for index in reversed(range(len(bijections))):
            z, log_det = bijections[index].inverse(params[index], state[index], z, given, key=noise_of(key, index))
            total = total + log_det
        return z, total

    stand_in = _stand_in(bijections) if any(item.stand_in for item in bijections) else None
    moving = [index for index, item in enumerate(bijections) if item.velocity is not None]
    velocity = _velocity(bijections, moving[0]) if len(moving) == 1 else None
    options: Any = {"scalars": True, "keeps_size": False, "stand_in": stand_in, "velocity": velocity}
    return checked("chain", init, forward, inverse, **options)


def _velocity(bijections: tuple[Bijection, ...], moving: int) -> Velocity:
    """Return the velocity of one of them, with what the others do before and after it."""
    own: Any = bijections[moving].velocity

    def start(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> Array:
        for index, item in enumerate(bijections[:moving]):
            x, _ = item.forward(params[index], state[index], x, given, key=noise_of(key, index))
        return own.start(params[moving], state[moving], x, given, noise_of(key, moving))

    def end(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> Array:
        for index in reversed(range(moving + 1, len(bijections))):
            z, _ = bijections[index].inverse(params[index], state[index], z, given, key=noise_of(key, index))
        return own.end(params[moving], state[moving], z, given, noise_of(key, moving))

    def field(
        params: PyTree, state: PyTree, x: Array, t: Array, given: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        found, new = own.field(params[moving], state[moving], x, t, given, key=noise_of(key, moving), train=train)
        return found, (*state[:moving], new, *state[moving + 1 :])

    return Velocity(start, end, field)


def _stand_in(bijections: tuple[Bijection, ...]) -> Callable[[Array], Array]:
    def stand_in(z: Array) -> Array:
        for item in reversed(bijections):
            z = z if item.stand_in is None else item.stand_in(z)
        return z

    return stand_in
