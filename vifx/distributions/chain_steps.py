"""The steps of a chain for given rows: laws of all steps at once where the values are known, one by one where not."""

from __future__ import annotations

__all__ = ["ChainSteps", "beside"]

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vifx.core.types import Array, Key, PyTree
from vifx.distributions.transition import Transition


class ChainSteps(NamedTuple):
    """All that the transition of a chain reads but the values, for a number of rows.

    Attributes:
      transition: the `Transition`.
      params: its parameters.
      state: its state.
      train: its mode.
      event_shape: the shape of one value.
      rows: how many rows there are.
      count: how many steps there are but the first, one or more.
      others: the time and the parents, ``[steps − 1, rows, ...]``, or ``[rows, ...]`` for what stays the same.
      axes: for each of them 0 if it has an axis of time, else None.
      key: of the noise of the network; None in evaluation.
    """

    transition: Transition
    params: PyTree
    state: PyTree
    train: bool
    event_shape: tuple[int, ...]
    rows: int
    count: int
    others: tuple[Array, ...]
    axes: tuple[int | None, ...]
    key: Key | None

    def noise(self, step: Any) -> Key | None:
        """Return the noise of the network at a step, counted from 0."""
        return None if self.key is None else jax.random.fold_in(self.key, step)

    @property
    def keys(self) -> Array | None:
        """The noise of the network at all steps but the first."""
        return None if self.key is None else jax.vmap(self.noise)(jnp.arange(self.count))

    @property
    def moving(self) -> list[Array]:
        """What has an axis of time."""
        return [each for each, axis in zip(self.others, self.axes, strict=True) if axis == 0]

    def at(self, now: Sequence[Array]) -> list[Array]:
        """Return the time and the parents of one step, from those that have an axis of time."""
        own = iter(now)
        return [next(own) if axis == 0 else each for each, axis in zip(self.others, self.axes, strict=True)]

    @property
    def first_arguments(self) -> list[Array]:
        """The time and the parents of the second step, which the transition is initialized with."""
        return self.at([each[0] for each in self.moving])

    def read(self, previous: Array, now: Sequence[Array]) -> PyTree:
        """Return what one step reads: the value before it, the time and the parents."""
        told = (previous, *self.at(now))
        return told if self.transition.read is None else self.transition.read(self.params, self.state, *told)

    def begin(self, inputs: PyTree) -> PyTree:
        """Return the memory before the first value is read; nothing for a transition without one."""
        return () if self.transition.begin is None else self.transition.begin(self.params, self.state, inputs)

    def advance(self, memory: PyTree, inputs: PyTree) -> tuple[PyTree, PyTree]:
        """Return the memory after a value, and the features of the law of the next."""
        if self.transition.advance is None:
            return memory, inputs
        return self.transition.advance(self.params, self.state, memory, inputs)

    def law(self, features: PyTree, noise: Key | None) -> Any:
        """Return the checked law of one step.

        Raises:
          ValueError: if it is not over values of the start, or has not one member a row.
        """
        law = self.transition.law(self.params, self.state, features, noise, self.train)
        shapes = tuple(getattr(law, "batch_shape", ())), tuple(getattr(law, "event_shape", ()))
        if not hasattr(law, "sample") or shapes != ((self.rows,), self.event_shape):
            what = f"a {type(law).__name__} of batch shape {list(shapes[0])} and event shape {list(shapes[1])}"
            raise ValueError(
                f"the transition of a chain returned {what}, expected a distribution of batch shape [{self.rows}] over "
                f"the values of the start, event shape {list(self.event_shape)}; declare event dimensions with "
                ".to_event(n)"
            )
        return law

    def second(self, first: Array) -> Any:
        """Return the law of the second value given the first ones, ``[rows, *event]``."""
        inputs = self.read(first, [each[0] for each in self.moving])
        _, features = self.advance(self.begin(inputs), inputs)
        return self.law(features, self.noise(0))

    def features(self, values: Array) -> tuple[PyTree, Any]:
        """Return what the laws of all steps but the first are made of, and which of it has an axis of time.

        Args:
          values: ``[steps, rows, *event]``.
        """
        if self.transition.read is None and self.transition.advance is None:
            return (values[:-1], *self.others), (0, *self.axes)
        inputs = jax.vmap(self.read)(values[:-1], self.moving)
        if self.transition.advance is None:
            return inputs, 0
        begun = self.begin(jax.tree.map(lambda x: x[0], inputs))
        return jax.lax.scan(self.advance, begun, inputs)[1], 0

    def over_time(self, function: Callable[[Any, Array], PyTree], values: Array) -> PyTree:
        """Apply a function of a law and its value to all steps but the first at once.

        Args:
          function: ``(law, value [rows, *event]) -> arrays``.
          values: ``[steps, rows, *event]``.

        Returns:
          What it returned, stacked along a new first axis ``[steps − 1, ...]``.
        """
        features, axes = self.features(values)
        each = lambda features, key, value: function(self.law(features, key), value)  # noqa: E731
        return jax.vmap(each, in_axes=(axes, 0, 0))(features, self.keys, values[1:])

    def walk(
        self, key: Key, first: Array, *, known: tuple[Array, Array] | None, pathwise: bool, scored: bool
    ) -> tuple[Array, Array]:
        """Draw all values but the first, step by step.

        Args:
          first: ``[rows, *event]``.
          known: values that are kept in place of draws, ``[steps − 1, rows, *event]``, and where they are,
            ``[steps − 1, rows]``.
          pathwise: whether draws pass gradients on.
          scored: whether their log-densities are returned.

        Returns:
          The values, ``[steps − 1, rows, *event]``, and their log-densities in nats, ``[steps − 1, rows]``; a zero for
          each step if not `scored`.
        """

        def step(carry: tuple[PyTree, Array], now: Any) -> tuple[tuple[PyTree, Array], tuple[Array, Array]]:
            index, own, clamp = now
            memory, previous = carry
            memory, features = self.advance(memory, self.read(previous, own))
            law = self.law(features, self.noise(index))
            value = law.sample(jax.random.fold_in(key, index))
            value = value if pathwise else jax.lax.stop_gradient(value)
            if clamp is not None:
                value = jnp.where(beside(clamp[1], value), clamp[0], value)
            return (memory, value), (value, law.log_prob(value) if scored else jnp.zeros(()))

        begun = self.begin(self.read(first, [each[0] for each in self.moving]))
        return jax.lax.scan(step, (begun, first), (jnp.arange(self.count), self.moving, known))[1]


def beside(mask: Array, value: Array) -> Array:
    """Give a mask the axes of events that values have: broadcast to their shape."""
    return jnp.broadcast_to(mask.reshape(*mask.shape, *(1,) * (value.ndim - mask.ndim)), value.shape)
