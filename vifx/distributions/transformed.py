"""A distribution pushed through a bijection."""

from __future__ import annotations

__all__ = ["Transformed"]

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.distributions import constraints

from vifx.core.types import Array, Bijection, Distribution, Key, PyTree
from vifx.distributions.supports import inside_of


class Transformed(NamedTuple):
    """A base distribution pushed through a bijection, equation (3).

    ``log q(x | y) = log q(f(x)) + log|det ∂f/∂x|`` with ``f = bijection.forward(·, y)``.

    Attributes:
      base: the distribution of ``z``, without a batch axis.
      bijection: the map from data to base.
      params: its parameters.
      state: its state.
      given: what it is conditioned on, ``[examples, ...]``, or None.
      key: noise of an estimated log-determinant; None where there is none.
    """

    base: Distribution
    bijection: Bijection
    params: PyTree
    state: PyTree
    given: Any
    key: Key | None = None

    @property
    def support(self) -> constraints.Constraint:
        """Finite numbers; a bijection that takes fewer, such as `flows.logit`, says so itself."""
        return constraints.independent(constraints.real, self._event())

    @property
    def has_rsample(self) -> bool:
        """Whether samples are differentiable in the parameters: they are if the base's are."""
        return bool(getattr(self.base, "has_rsample", True))

    def sample_with_log_prob(self, key: Key, sample_shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
        """Draw ``x = f⁻¹(z)`` and its log-density in nats from one pass through the bijection.

        Returns:
          Samples ``[*sample_shape, *batch, *event]`` and log-densities ``[*sample_shape, *batch]``,
          where ``batch`` is ``(examples,)`` with parents and ``()`` without.
        """
        given_leaves = jax.tree.leaves(self.given)
        batch = (given_leaves[0].shape[0],) if given_leaves else ()
        rows, copies = math.prod((*sample_shape, *batch)), math.prod(sample_shape)
        given = jax.tree.map(lambda x: _tiled(x, copies), self.given)
        z = self.base.sample(key, (rows,))
        x, log_det = self.bijection.inverse(self.params, self.state, z, given, key=self._noise("inverse"))
        shape = (*sample_shape, *batch)
        return x.reshape(*shape, *x.shape[1:]), (self.base.log_prob(z) - log_det).reshape(shape)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``x = f⁻¹(z)``, shape ``[*sample_shape, *batch, *event]``."""
        return self.sample_with_log_prob(key, sample_shape)[0]

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats of ``[..., *batch, *event]``: ``[..., *batch]``, −∞ where it is not finite."""
        event = self._event()
        inside, value = inside_of(self.support, value, event=event)
        shape = value.shape[: value.ndim - event]
        flat = value.reshape(-1, *value.shape[value.ndim - event :])
        given = jax.tree.map(lambda x: _tiled(x, flat.shape[0] // x.shape[0]), self.given)
        z, log_det = self.bijection.forward(self.params, self.state, flat, given, key=self._noise("forward"))
        return jnp.where(inside, (self.base.log_prob(z) + log_det).reshape(shape), -jnp.inf)

    def _event(self) -> int:
        """How many axes an event has: of the data, which may be an image where the base is over vectors."""
        one = jax.eval_shape(lambda: self.sample(jax.random.key(0)))
        return one.ndim - (1 if jax.tree.leaves(self.given) else 0)

    def _noise(self, direction: Literal["forward", "inverse"]) -> Key | None:
        return None if self.key is None else jax.random.fold_in(self.key, direction == "forward")


def _tiled(x: Array, copies: int) -> Array:
    return x if copies == 1 else jnp.tile(x, (copies,) + (1,) * (x.ndim - 1))
