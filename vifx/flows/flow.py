"""A base distribution and a bijection, used as a density by itself."""

from __future__ import annotations

__all__ = ["FittedFlow", "Flow"]

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import described, require, require_array, require_integer, require_key
from vifx.core.types import Array, Bijection, Distribution, Key, PyTree
from vifx.distributions import tempered
from vifx.flows.checked import A_BIJECTION


@dataclass(frozen=True)
class Flow:
    """A normalizing flow: ``log q(x) = log q_base(f(x)) + log|det ∂f/∂x|``, equation (3).

    Inside a joint write ``transformed("x", base, bijection, name=...)``; this is the same density as plain functions
    of parameters, to differentiate, and with `at` one that has its parameters, to ask.

    Attributes:
      base: the distribution of ``z``, without a batch axis.
      bijection: the map ``f`` from data to base.

    Raises:
      TypeError: `base` is not a distribution, or `bijection` is not a `Bijection`.
      ValueError: the base has a batch axis.

    References: Rezende & Mohamed (2015), arXiv:1505.05770; Dinh et al. (2017), arXiv:1605.08803.
    """

    base: Distribution
    bijection: Bijection

    def __post_init__(self) -> None:
        if isinstance(self.base, type) or not isinstance(self.base, Distribution):
            raise TypeError(
                f"Flow: base must be a distribution, got {described(self.base)}; give vifx.standard_normal(2) say."
            )
        if batch_shape := tuple(getattr(self.base, "batch_shape", ())):
            raise ValueError(
                f"Flow: base has batch shape {list(batch_shape)}, expected [] (one event per example); declare event "
                "dimensions with .to_event(n)."
            )
        require(self.bijection, Bijection, "Flow: bijection", *A_BIJECTION)

    def init(self, key: Key, x: Array, given: Any = None) -> tuple[PyTree, PyTree]:
        """Return parameters and state, initialized on data ``[examples, *event]``.

        Raises:
          TypeError: `key` is not a typed key, or `x` not an array.
        """
        require_key(key)
        require_array(x, "init: x")
        return self.bijection.init(key, x, given)

    def at(self, params: PyTree, state: PyTree) -> FittedFlow:
        """Return the flow at parameters, such as those of a training: a density to evaluate and to draw from.

        >>> import jax, jax.numpy as jnp
        >>> import vifx
        >>> from vifx import flows
        >>> flow = flows.Flow(vifx.standard_normal(2), flows.scale())
        >>> fitted = flow.at(*flow.init(jax.random.key(0), jnp.zeros((1, 2))))
        >>> [round(float(each), 4) for each in fitted.log_prob(jnp.zeros((3, 2)))]
        [-1.8379, -1.8379, -1.8379]
        """
        return FittedFlow(self, params, state)

    def log_prob(self, params: PyTree, state: PyTree, x: Array, given: Any = None, *, key: Key | None = None) -> Array:
        """Return ``log q(x)`` in nats, ``[examples]``.

        Args:
          params: the bijection's parameters.
          state: the bijection's state.
          x: data, ``[examples, *event]``.
          given: what it is conditioned on.
          key: noise of an estimated log-determinant.

        Raises:
          TypeError: an argument is of another kind.
          ValueError: the event is not that of the base.
        """
        z, log_det = self._forward("log_prob", key, params, state, x, given)
        event = tuple(getattr(self.base, "event_shape", z.shape[1:]))
        if z.shape[1:] != event:
            raise ValueError(
                f"log_prob: x {list(x.shape)} becomes z {list(z.shape)}, but the base has events {list(event)}; give "
                f"[examples, {', '.join(map(str, event))}], or the base the event of z."
            )
        return self.base.log_prob(z) + log_det

    def sample(
        self, key: Key, params: PyTree, state: PyTree, examples: int, given: Any = None, *, temperature: float = 1.0
    ) -> Array:
        """Draw ``x = f⁻¹(z)``, ``[examples, *event]``.

        Args:
          key: the noise.
          params: the bijection's parameters.
          state: the bijection's state.
          examples: how many, at least 1.
          given: what it is conditioned on, one row per example.
          temperature: T > 0, by which the standard deviation of a normal base is multiplied.

        Raises:
          TypeError: `key` is not a typed key, or a number of another kind.
          ValueError: `examples` or `temperature` is out of range, or the base has no scale to temper.
        """
        require_key(key)
        require_integer(examples, "sample: examples")
        base: Any = self.base
        noise, own = jax.random.split(key)
        z: Any = tempered(base, temperature).sample(noise, (examples,))
        return self.decode(params, state, z, given, key=own)

    def encode(self, params: PyTree, state: PyTree, x: Array, given: Any = None, *, key: Key | None = None) -> Array:
        """Return ``z = f(x)``; only a bijection that estimates its log-determinant needs `key`.

        Raises:
          TypeError: an argument is of another kind.
        """
        return self._forward("encode", key, params, state, x, given)[0]

    def decode(self, params: PyTree, state: PyTree, z: Array, given: Any = None, *, key: Key | None = None) -> Array:
        """Return ``x = f⁻¹(z)``; only a bijection that estimates its log-determinant needs `key`.

        Raises:
          TypeError: an argument is of another kind.
        """
        require_array(z, "decode: z")
        if key is not None:
            require_key(key)
        return self.bijection.inverse(params, state, z, given, key=key)[0]

    def interpolate(
        self,
        params: PyTree,
        state: PyTree,
        start: Array,
        end: Array,
        given: Any = None,
        *,
        points: int = 8,
        key: Key | None = None,
    ) -> Array:
        """Decode the straight lines between the codes of two batches of data.

        Args:
          params: the bijection's parameters.
          state: the bijection's state.
          start: data, ``[examples, *event]``.
          end: data of the same shape.
          given: what both are conditioned on.
          points: how many points a line has, its two ends included.
          key: as for `encode`.

        Returns:
          ``[examples, points, *event]``, from `start` to `end`.

        Raises:
          TypeError: an argument is of another kind.
          ValueError: the shapes differ or `points` is less than 2.
        """
        require_array(start, "interpolate: start")
        require_array(end, "interpolate: end")
        if start.shape != end.shape:
            raise ValueError(f"interpolate: start has shape {list(start.shape)} and end {list(end.shape)}; give pairs.")
        require_integer(points, "interpolate: points", least=2)
        if key is not None:
            require_key(key)
        keys = [None] * (points + 2) if key is None else [jax.random.fold_in(key, i) for i in range(points + 2)]
        first = self.encode(params, state, start, given, key=keys[-1])
        last = self.encode(params, state, end, given, key=keys[-2])
        lines = []
        for index in range(points):
            share = index / (points - 1)
            lines.append(self.decode(params, state, (1 - share) * first + share * last, given, key=keys[index]))
        return jnp.stack(lines, axis=1)

    def _forward(
        self, where: str, key: Key | None, params: PyTree, state: PyTree, x: Array, given: Any
    ) -> tuple[Array, Array]:
        require_array(x, f"{where}: x")
        if key is not None:
            require_key(key)
        return self.bijection.forward(params, state, x, given, key=key)


@dataclass(frozen=True, repr=False)
class FittedFlow:
    """A flow with its parameters, made by `Flow.at`: log-densities and draws without naming them again.

    Its functions are those of `Flow`, and may be compiled: ``jax.jit(fitted.log_prob)``. A log-determinant that is
    estimated needs noise, which those of `Flow` take; here it has to be exact, which it is with the same parameters.

    Attributes:
      flow: the base and the bijection.
      params: the bijection's parameters.
      state: the bijection's state.
    """

    flow: Flow
    params: PyTree
    state: PyTree

    def __repr__(self) -> str:
        return f"FittedFlow({sum(leaf.size for leaf in jax.tree.leaves(self.params)):,} parameters)"

    def log_prob(self, x: Array, given: Any = None) -> Array:
        """Return ``log q(x)`` in nats, ``[examples]``, of data ``[examples, *event]``; as `Flow.log_prob`."""
        return self.flow.log_prob(self.params, self.state, x, given)

    def sample(self, key: Key, examples: int, given: Any = None, *, temperature: float = 1.0) -> Array:
        """Draw ``[examples, *event]`` at a `temperature`; as `Flow.sample`."""
        return self.flow.sample(key, self.params, self.state, examples, given, temperature=temperature)

    def encode(self, x: Array, given: Any = None) -> Array:
        """Return ``z = f(x)``; as `Flow.encode`."""
        return self.flow.encode(self.params, self.state, x, given)

    def decode(self, z: Array, given: Any = None) -> Array:
        """Return ``x = f⁻¹(z)``; as `Flow.decode`."""
        return self.flow.decode(self.params, self.state, z, given)

    def interpolate(self, start: Array, end: Array, given: Any = None, *, points: int = 8) -> Array:
        """Decode lines between codes, at as many `points`, ``[examples, points, *event]``; as `Flow.interpolate`."""
        return self.flow.interpolate(self.params, self.state, start, end, given, points=points)
