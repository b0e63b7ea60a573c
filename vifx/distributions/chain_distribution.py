"""Chains: sequences of values of any kind, each step by a network of the step before it."""

from __future__ import annotations

__all__ = ["Chain"]

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro
from jax.core import Tracer

from vifx.checks import require_integer
from vifx.core.types import Array, Estimate, Key, PyTree
from vifx.distributions.chain_kl import along_a_path
from vifx.distributions.chain_steps import ChainSteps, beside
from vifx.distributions.lengths import increasing, inside, possible
from vifx.distributions.markov_chain import MarkovChain, all_sequences
from vifx.distributions.supports import FirstAndLater
from vifx.distributions.transition import Transition


class Chain(numpyro.Distribution):
    """``q(x_1) Π_t q(x_t | x_{t−1}, t, given_t)``: one event is a whole sequence, ``[steps, *event]``.

    `vifx.dynamics.chain` makes the network whose output this is. `log_prob` is parallel over time: the network of the
    transition runs once on all steps, each with the value before it (teacher forcing), and a transition with a memory
    has its recurrence alone run step by step. A sample is one scan. With lengths, later steps have log-density 0,
    whatever fills them, and are drawn all the same.

    Args:
      start: the law of the first value, with a batch axis of the examples or without one.
      transition: the `Transition`.
      steps: T.
      params: the parameters of the transition.
      state: its state, which is read and never written.
      examples: how many members the batch has; None without a batch axis.
      given: the parents, ``[examples, ...]`` or ``[examples, T, ...]``.
      sequences: for each parent whether it has one value for every step.
      times: the times of the steps, ``[T]`` or ``[examples, T]``, increasing; None for 0, 1, 2, …
      lengths: how many steps of each sequence there are, integers ``[examples]``; None for all.
      stationary: whether the transition is not told the time, but for the gaps between `times`.
      noise: the key of the network in training mode.
      train: the mode of the network.

    Raises:
      ValueError: if times do not increase, or a parent, the times or the lengths have another shape; where it is used,
        if the transition is not over the values of the start.
    """

    pytree_data_fields = ("start", "params", "state", "given", "times", "lengths", "noise")
    pytree_aux_fields = ("transition", "steps", "examples", "sequences", "stationary", "train")

    def __init__(
        self,
        start: Any,
        transition: Transition,
        steps: int,
        *,
        params: PyTree = None,
        state: PyTree = None,
        examples: int | None = None,
        given: Sequence[Array] = (),
        sequences: Sequence[bool] = (),
        times: Array | None = None,
        lengths: Array | None = None,
        stationary: bool = False,
        noise: Key | None = None,
        train: bool = False,
    ) -> None:
        self.start, self.transition, self.steps = start, transition, require_integer(steps, "steps")
        self.params, self.state, self.noise, self.train = params, state, noise, train
        self.examples, self.given, self.sequences = examples, tuple(given), tuple(sequences)
        self.times, self.lengths, self.stationary = times, lengths, stationary
        batch = () if examples is None else (examples,)
        if tuple(start.batch_shape) not in ((), batch):
            raise ValueError(
                f"start has batch shape {list(start.batch_shape)}, expected {list(batch)}, one member for each "
                "example; declare event dimensions with .to_event(n)"
            )
        for place, (each, along) in enumerate(zip(self.given, self.sequences, strict=True)):
            if along and (each.ndim < 2 or each.shape[1] != steps):
                raise ValueError(
                    f"parent {place} has shape {list(each.shape)}, expected [examples, {steps}, ...], one value for "
                    f"each of the {steps} steps"
                )
        if lengths is not None:
            inside("Chain", lengths, examples or 1, steps)
        if times is not None:
            increasing("Chain", times, (steps,) if times.ndim == 1 else (*batch, steps), lengths)
        super().__init__(batch, (steps, *start.event_shape), validate_args=False)

    @property
    def support(self) -> FirstAndLater:
        """Sequences of what the start and the transition can be; beyond the end of a sequence, anything."""
        found = self.traced(lambda law: getattr(law, "support", None))
        # A support that depends on the value before cannot be told without it; `log_prob` knows it.
        static = not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(found))
        return FirstAndLater(self.start.support, found if static else None, self.steps, self.lengths)

    @property
    def has_rsample(self) -> bool:
        """Whether samples are differentiable in the parameters: those of the start and of the transition are."""
        each = (self.start,) if self.steps == 1 else (self.start, self.traced(lambda law: law))
        return all(bool(getattr(law, "has_rsample", True)) for law in each)

    def traced(self, ask: Callable[[Any], Any]) -> Any:
        """Return what is asked of the law of the second step, without computing anything.

        Raises:
          ValueError: if the transition is not over the values of the start.
        """
        found = []

        def trace(key: Key) -> None:
            first = self.first_values(key)
            found.append(ask(self.start if self.steps == 1 else self.steps_for(first).second(first)))

        jax.eval_shape(trace, jax.eval_shape(lambda: jax.random.key(0)))
        return found[0]

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats of sequences ``[..., *batch, steps, *event]``: ``[..., *batch]``."""
        return jnp.sum(self.step_log_probs(value), axis=-1)

    def step_log_probs(self, value: Array) -> Array:
        """Return ``log q(x_t | x_{t−1}, …)`` in nats of every step, ``[..., *batch, steps]``; 0 beyond the end.

        Args:
          value: ``[..., *batch, steps, *event]``.
        """
        value = jnp.asarray(value)
        within = self.support
        possibly = within.steps_inside(value)
        value = jnp.where(beside(possibly, value), value, within.feasible_like(value))
        lead = value.shape[: value.ndim - len(self.batch_shape) - len(self.event_shape)]
        if self.examples is None:
            rows = value.reshape(math.prod(lead), *value.shape[len(lead) :])
            found = self._scores(rows)
        else:
            copies = value.reshape(math.prod(lead), *value.shape[len(lead) :])
            found = self._scores(copies[0])[None] if len(copies) == 1 else jax.vmap(self._scores)(copies)
        found = jnp.where(possibly, found.reshape(possibly.shape), -jnp.inf)
        return self._until_the_end(found)

    def _scores(self, rows: Array) -> Array:
        """Return the log-densities of the steps of ``[rows, steps, *event]``: ``[rows, steps]``."""
        values = jnp.moveaxis(rows, 1, 0)
        first = self.start.log_prob(values[0])[None]
        if self.steps > 1:
            later = self.steps_for(values[0]).over_time(lambda law, value: law.log_prob(value), values)
            first = jnp.concatenate([first, later])
        return jnp.moveaxis(first, 0, 1)

    def _until_the_end(self, each: Array) -> Array:
        """Count nothing beyond the end of a sequence, and NaN where the times or the lengths are wrong."""
        if self.lengths is not None:
            ends = inside("Chain", self.lengths, self.examples or 1, self.steps)
            wrong = jnp.broadcast_to(possible(self.lengths, self.steps)[:, None], each.shape)
            each = jnp.where(jnp.broadcast_to(ends, each.shape), each, 0) + wrong.astype(each.dtype)
        if self.times is not None:
            shape = (self.steps,) if self.times.ndim == 1 else (*self.batch_shape, self.steps)
            wrong = increasing("Chain", self.times, shape, self.lengths)
            each = each + jnp.broadcast_to(wrong[..., None], each.shape).astype(each.dtype)
        return each

    def steps_for(self, values: Array) -> ChainSteps:
        """Return what the transition reads beside the values of one step, ``[rows, *event]``."""
        rows = len(values)
        floating = jnp.issubdtype(values.dtype, jnp.floating)
        clock = self._clock(rows, values.dtype if floating else jnp.result_type(float))
        given = [
            jnp.moveaxis(each, 1, 0)[1:] if along else each
            for each, along in zip(self.given, self.sequences, strict=True)
        ]
        axes = (*(0 for _ in clock), *(0 if along else None for along in self.sequences))
        count = self.steps - 1
        shape = tuple(self.start.event_shape)
        return ChainSteps(
            self.transition, self.params, self.state, self.train, shape, rows, count, (*clock, *given), axes, self.noise
        )

    def _clock(self, rows: int, dtype: Any) -> list[Array]:
        """Return what the transition is told of the time, ``[steps − 1, rows, 1]`` each, in the type of the values."""
        shape = (self.steps - 1, rows, 1)
        if self.times is None:
            index = jnp.arange(self.steps - 1).astype(dtype)
            return [] if self.stationary else [jnp.broadcast_to(index[:, None, None], shape)]
        times = jnp.moveaxis(self.times, -1, 0)
        times = jnp.broadcast_to(times[:, None] if times.ndim == 1 else times, (self.steps, rows))
        gaps = jnp.diff(times, axis=0)
        if self.lengths is not None:  # what fills the end of a sequence is no time
            later = jnp.arange(1, self.steps, dtype=self.lengths.dtype)
            gaps = jnp.where(later[:, None] < self.lengths[None], gaps, 1)
        return [each.reshape(shape).astype(dtype) for each in ([gaps] if self.stationary else [times[:-1], gaps])]

    def first_values(self, key: Key, *, copies: int | None = None) -> Array:
        """Draw first values ``[copies, *batch, *event]``; of None ``[*batch, *event]``, one row without a batch."""
        if copies is None and self.examples is None:
            copies = 1
        missing = len(self.batch_shape) - len(self.start.batch_shape)
        return self.start.sample(key, (*(() if copies is None else (copies,)), *self.batch_shape[:missing]))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw sequences ``[*sample_shape, *batch, steps, *event]`` by one scan, those beyond their length too."""
        return self._drawn(key, sample_shape, None, False)[0]

    def sample_with_log_prob(self, key: Key, sample_shape: tuple[int, ...] = ()) -> tuple[Array, Array]:
        """Draw sequences together with their log-density in nats, ``[*sample_shape, *batch]``, from the same scan."""
        drawn, each = self._drawn(key, sample_shape, None, True)
        return drawn, jnp.sum(self._until_the_end(each), axis=-1)

    def continued(self, key: Key, value: Array, known: int | Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw how sequences go on after their first steps: ``q(x_{k+1} … x_T | x_1 … x_k)``.

        Args:
          value: ``[*batch, steps, *event]``, of which the first `known` steps are kept and the others not read.
          known: k, from 1 to `steps`; one for all, or integers ``[*batch]``.

        Returns:
          ``[*sample_shape, *batch, steps, *event]``.
        """
        shape, counts = (*self.batch_shape, self.steps), jnp.asarray(known)
        steps = jnp.arange(self.steps, dtype=counts.dtype)
        kept = jnp.broadcast_to(steps, shape) < jnp.broadcast_to(counts[..., None], shape)
        value = jnp.where(beside(kept, value), value, jnp.zeros_like(value))
        return self._drawn(key, sample_shape, (value, kept), False)[0]

    def _drawn(
        self, key: Key, sample_shape: tuple[int, ...], known: tuple[Array, Array] | None, scored: bool
    ) -> tuple[Array, Array]:
        """Draw sequences, and the log-densities of their steps ``[*sample_shape, *batch, steps]`` if `scored`."""
        start, rest = jax.random.split(key)
        pathwise, count = self.has_rsample, math.prod(sample_shape)
        copies = self.examples is not None and bool(sample_shape)
        # Without a batch the draws are the rows; with one, every draw has the rows of all examples.
        first = self.first_values(start, copies=count if copies or self.examples is None else None)
        rows = count if self.examples is None else self.examples
        first = first if pathwise else jax.lax.stop_gradient(first)
        later = None
        if known is not None:
            kept, where = (_over_rows(each, rows, self.batch_shape) for each in known)
            later = kept[1:], where[1:]
            begun, at = (jnp.broadcast_to(each[0], (*first.shape[:copies], *each[0].shape)) for each in (kept, where))
            first = jnp.where(beside(at, first), begun, first)
        values = first[None]
        scores = self.start.log_prob(first)[None] if scored else jnp.zeros(0)
        if self.steps > 1:
            steps = self.steps_for(first[0] if copies else first)
            walk = partial(steps.walk, known=later, pathwise=pathwise, scored=scored)
            if copies:
                after, each = jax.vmap(walk, out_axes=1)(jax.random.split(rest, count), first)
            else:
                after, each = walk(rest, first)
            values = jnp.concatenate([values, after])
            scores = jnp.concatenate([scores, each]) if scored else scores
        lead, axis = (*sample_shape, *self.batch_shape, self.steps), 1 + copies
        values = jnp.moveaxis(values, 0, axis).reshape(*lead, *self.start.event_shape)
        return values, jnp.moveaxis(scores, 0, axis).reshape(lead) if scored else scores

    def kl_estimate(self, other: object) -> Estimate | None:
        """Return an estimate of KL(self ‖ other) in nats along one path, or None if its steps have no closed form.

        ``KL(start) + Σ_t E KL(q(x_t | x_{t−1}) ‖ q'(x_t | x_{t−1}))``, see `vifx.distributions.chain_kl`.

        Raises:
          ValueError: if the other chain has another number of steps.
        """
        return along_a_path(self, other) if isinstance(other, Chain) else None

    def tabulated(self) -> MarkovChain:
        """Return the chain of finitely many states as tables: the same law, with exact expectations and divergences.

        The network of the transition runs on every state at every step: K times as often as for `log_prob`.

        Raises:
          ValueError: if values are not the integers 0 … K − 1, or the transition has a memory, or there are lengths.
        """
        states = self._states()
        if self.transition.advance is not None or self.lengths is not None:
            why = "lengths" if self.transition.advance is None else "a memory"
            raise ValueError(f"a chain with {why} has no tables of transitions; leave it as it is, to be drawn")
        rows, batch = self.examples or 1, self.start.batch_shape
        each, count = jnp.arange(states), states
        at_start = jnp.broadcast_to(each.reshape(count, *(1,) * len(batch)), (count, *batch))
        initial = jnp.moveaxis(jax.vmap(self.start.log_prob)(at_start), 0, -1)
        initial = jnp.broadcast_to(initial, (*self.batch_shape, count))
        table = jnp.zeros((rows, 0, count, count), initial.dtype)
        if self.steps > 1:
            entered = jnp.broadcast_to(each[:, None], (count, rows))

            def leaving(state: Array) -> Array:
                stays = jnp.broadcast_to(state, (self.steps, rows))
                return self.steps_for(stays[0]).over_time(lambda law, _: jax.vmap(law.log_prob)(entered), stays)

            table = jnp.transpose(jax.vmap(leaving)(each), (3, 1, 0, 2))  # [rows, steps − 1, K left, K entered]
        return MarkovChain(initial, table[0] if self.examples is None else table, self.steps)

    def every_sequence(self) -> Array:
        """Return all sequences of a chain of finitely many states, integers ``[Kᵀ, steps]``, to enumerate them.

        Raises:
          ValueError: if the values are not finitely many integers, or the sequences are too many.
        """
        return all_sequences(self._states(), self.steps)

    def _states(self) -> int:
        if getattr(self.start, "has_enumerate_support", False) and tuple(self.start.event_shape) == ():
            with jax.ensure_compile_time_eval():
                states = np.asarray(self.start.enumerate_support(expand=False)).reshape(-1)
            if np.array_equal(states, np.arange(len(states))):
                return len(states)
        raise ValueError(
            f"a chain that starts from a {type(self.start).__name__} is not over the integers 0 … K − 1, so that it "
            "has no tables; end start and transition with networks.CategoricalHead(K)"
        )


def _over_rows(each: Array, rows: int, batch: tuple[int, ...]) -> Array:
    """Give known values ``[*batch, steps, ...]`` their rows, time first: ``[steps, rows, ...]``."""
    return jnp.moveaxis(each if batch else jnp.broadcast_to(each, (rows, *each.shape)), 1, 0)
