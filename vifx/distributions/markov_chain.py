"""Markov chains of finitely many states: the prior and the posterior of a hidden Markov model."""

from __future__ import annotations

__all__ = ["MarkovChain", "all_sequences"]

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as numpyro

from vifx.checks import require_integer
from vifx.core.types import Array, Estimate, Key
from vifx.distributions.each_step import EachStep
from vifx.distributions.log_zero import weighted
from vifx.distributions.supports import WholeNumbers, inside_of

_MOST_SEQUENCES = 10**6


class MarkovChain(numpyro.Distribution):
    """A chain ``z_1 … z_T`` of states ``0 … K−1``: ``P(z) = π(z_1) Π_t A_t(z_t, z_{t+1})``.

    One event is a whole sequence of integers, ``[length]``. Logits are normalized here: those of the initial state
    over the last axis, those of the transitions over the last axis for every state that is left. A row of ``−∞``
    belongs to a state that is never reached. Nothing is enumerated: every method costs ``O(T K²)``.

    Args:
      initial_logits: the logits of the first state, ``[*batch, K]``.
      transition_logits: those of the transitions, ``[*batch, T−1, K, K]``, or ``[K, K]`` for all times and examples.
      length: T.
      parallel: whether time is divided by an associative scan, of depth ``log T`` and ``O(T K³)`` operations, or taken
        step by step. Equal results up to rounding.

    Raises:
      ValueError: if the shapes do not fit each other or `length`.

    >>> import jax.numpy as jnp
    >>> MarkovChain(jnp.zeros((5, 3)), jnp.zeros((3, 3)), 10).event_shape
    (10,)
    """

    arg_constraints = {  # noqa: RUF012
        "initial_logits": numpyro.constraints.real_vector,
        "transition_logits": numpyro.constraints.real_matrix,
    }
    pytree_aux_fields = ("length", "parallel")

    def __init__(self, initial_logits: Array, transition_logits: Array, length: int, *, parallel: bool = False) -> None:
        require_integer(length, "length")
        self.initial_logits, self.transition_logits = jnp.asarray(initial_logits), jnp.asarray(transition_logits)
        self.length, self.parallel = length, bool(parallel)
        batch, states = self.initial_logits.shape[:-1], self.initial_logits.shape[-1:]
        shape = self.transition_logits.shape
        if not states or shape not in ((*states, *states), (*batch, length - 1, *states, *states)):
            raise ValueError(
                f"transition_logits of shape {list(shape)} must be [states, states], or [*batch, length − 1, states, "
                f"states] = {[*batch, length - 1, *states, *states]} for initial_logits of shape "
                f"{[*batch, *states]} and length {length}"
            )
        super().__init__(batch, (length,), validate_args=False)

    @property
    def states(self) -> int:
        """The number of states K."""
        return self.initial_logits.shape[-1]

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """The states of every step."""
        return numpyro.constraints.independent(WholeNumbers(largest=self.states - 1), 1)

    @property
    def initial_log_probs(self) -> Array:
        """``log π`` in nats, ``[*batch, K]``."""
        return _log_rows(self.initial_logits)

    @property
    def transition_log_probs(self) -> Array:
        """``log A`` in nats, of the shape of `transition_logits`; uniform in rows of states that nothing reaches."""
        return _log_rows(self.transition_logits)

    def _over_time(self, each: Array) -> Array:
        """Give transitions a time axis that leads: ``[T−1, *batch, K, K]``, of a table for all ``[T−1, K, K]``."""
        return jnp.broadcast_to(each, (self.length - 1, *each.shape)) if each.ndim == 2 else jnp.moveaxis(each, -3, 0)

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats of sequences ``[..., T]``: ``[...]``, −∞ where one is not a state."""
        value = jnp.asarray(value)
        shape = jnp.broadcast_shapes(value.shape[:-1], self.batch_shape)
        inside, value = inside_of(self.support, jnp.broadcast_to(value, (*shape, self.length)), event=1)
        value = value.astype(jnp.int32)
        initial = jnp.broadcast_to(self.initial_log_probs, (*shape, self.states))
        first = jnp.take_along_axis(initial, value[..., :1], axis=-1)[..., 0]
        table = self.transition_log_probs
        if table.ndim == 2:
            each = table[value[..., :-1], value[..., 1:]]
        else:
            table = jnp.broadcast_to(table, (*shape, *table.shape[-3:]))
            left = jnp.take_along_axis(table, value[..., :-1, None, None], axis=-2)[..., 0, :]
            each = jnp.take_along_axis(left, value[..., 1:, None], axis=-1)[..., 0]
        return jnp.where(inside, first + jnp.sum(each, axis=-1), -jnp.inf)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw sequences step by step, integers ``[*sample_shape, *batch, T]``."""
        shape = (*sample_shape, *self.batch_shape)
        start, rest = jax.random.split(key)
        first = jax.random.categorical(start, jnp.broadcast_to(self.initial_log_probs, (*shape, self.states)))

        def step(state: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
            key, table = now
            table = jnp.broadcast_to(table, (*shape, self.states, self.states))
            logits = jnp.take_along_axis(table, state[..., None, None], axis=-2)[..., 0, :]
            following = jax.random.categorical(key, logits)
            return following, following

        keys = jax.random.split(rest, self.length - 1)
        _, later = jax.lax.scan(step, first, (keys, self._over_time(self.transition_log_probs)))
        return jnp.moveaxis(jnp.concatenate([first[None], later]), 0, -1)

    def every_sequence(self) -> Array:
        """Return all sequences of states, integers ``[Kᵀ, T]``, to enumerate them; nothing else does.

        Raises:
          ValueError: if they are too many.
        """
        return all_sequences(self.states, self.length)

    @property
    def marginals(self) -> Array:
        """``P(z_t = k)``, ``[*batch, T, K]``."""
        first = jnp.exp(self.initial_log_probs)
        tables = self._over_time(jnp.exp(self.transition_log_probs))
        return jnp.moveaxis(_walked(first, tables, self.parallel), 0, -2)

    @property
    def pair_marginals(self) -> Array:
        """``P(z_t = i, z_{t+1} = j)``, ``[*batch, T−1, K, K]``."""
        shape = (*self.batch_shape, self.length - 1, self.states, self.states)
        return self.marginals[..., :-1, :, None] * jnp.broadcast_to(jnp.exp(self.transition_log_probs), shape)

    def entropy(self) -> Array:
        """``H(z_1) + Σ_t H(z_{t+1} | z_t)`` in nats, ``[*batch]``, with 0 log 0 = 0."""
        return -self._expected(None)

    expectation = "exact, by forward–backward"
    """How an expectation under a chain is taken, see `vifx.core.types.Structured`."""

    def probes(self) -> Array:
        """Return the chains that stay in one state, ``[K, T]``: together they meet every state at every step."""
        return jnp.broadcast_to(jnp.arange(self.states)[:, None], (self.states, self.length))

    def expected_log_prob(self, conditional: EachStep, value: Array) -> Array:
        """Return ``E Σ_t log q(x_t | z_t)`` in nats, ``[rows]``, from the marginals of the steps.

        Args:
          conditional: the emissions at the `probes`, ``[K × rows]`` members, state by state.
          value: x, ``[rows, T, *event]``.

        Raises:
          ValueError: if they are not emissions of one step each.
        """
        if not isinstance(conditional, EachStep):
            raise ValueError(
                f"the emissions of a chain must depend on one step of it each, which {type(conditional).__name__} does "
                "not promise; make them with em.each_step(...)"
            )
        rows = value.shape[0]
        steps = conditional.step_log_probs(jnp.tile(value, (self.states,) + (1,) * (value.ndim - 1)))
        steps = jnp.moveaxis(steps.reshape(self.states, rows, self.length), 0, -1)
        marginals = jnp.broadcast_to(self.marginals, steps.shape)
        return jnp.sum(weighted(marginals, steps), axis=(1, 2))

    def kl_estimate(self, other: object) -> Estimate | None:
        """Return an exact estimate of KL(self ‖ other) in nats if the other one is a chain, else None."""
        return Estimate(lambda _: self.kl(other), "closed form", False) if isinstance(other, MarkovChain) else None

    def kl(self, other: MarkovChain) -> Array:
        """Return ``KL(self ‖ other) = Σ_z P(z) [log P(z) − log Q(z)]`` in nats, ``[*batch]``.

        Args:
          other: a chain of as many states and steps, its batch that of this one or none.

        Raises:
          ValueError: if it has another number of states or steps.
        """
        if (self.states, self.length) != (other.states, other.length):
            raise ValueError(
                f"a chain of {self.states} states and length {self.length} is compared with one of {other.states} "
                f"states and length {other.length}; make the two agree"
            )
        return self._expected(other)

    def _expected(self, other: MarkovChain | None) -> Array:
        """Return ``E[log P − log Q]``, or without Q ``E log P``; what has probability zero counts for nothing."""
        marginals = self.marginals
        theirs = None if other is None else other.initial_log_probs
        total = jnp.sum(_integrand(marginals[..., 0, :], self.initial_log_probs, theirs), axis=-1)
        ours = self.transition_log_probs
        theirs = None if other is None else other.transition_log_probs
        if ours.ndim == 2 and (theirs is None or theirs.ndim == 2):
            # With one table for all times, only the expected number of departures from each state matters.
            left = jnp.sum(marginals[..., :-1, :], axis=-2)
            pairs = left[..., None] * jnp.broadcast_to(jnp.exp(ours), (*left.shape, self.states))
            return total + jnp.sum(_integrand(pairs, ours, theirs), axis=(-2, -1))
        shape = (*self.batch_shape, self.length - 1, self.states, self.states)
        pairs = marginals[..., :-1, :, None] * jnp.broadcast_to(jnp.exp(ours), shape)
        return total + jnp.sum(_integrand(pairs, ours, theirs), axis=(-3, -2, -1))

    def most_likely(self) -> Array:
        """Return the sequence of the largest probability, integers ``[*batch, T]`` (Viterbi, 1967)."""
        tables = self._over_time(self.transition_log_probs)
        best = jnp.zeros((*self.batch_shape, self.states), tables.dtype)

        def backward(best: Array, table: Array) -> tuple[Array, Array]:
            each = jnp.broadcast_to(table, (*best.shape, self.states)) + best[..., None, :]
            return jnp.max(each, axis=-1), jnp.argmax(each, axis=-1)

        best, following = jax.lax.scan(backward, best, tables, reverse=True)
        first = jnp.argmax(self.initial_log_probs + best, axis=-1)

        def forward(state: Array, following: Array) -> tuple[Array, Array]:
            state = jnp.take_along_axis(following, state[..., None], axis=-1)[..., 0]
            return state, state

        _, later = jax.lax.scan(forward, first, following)
        return jnp.moveaxis(jnp.concatenate([first[None], later]), 0, -1)


def all_sequences(states: int, length: int) -> Array:
    """Return all sequences of the states ``0 … states − 1``, integers ``[statesᵀ, length]``.

    Raises:
      ValueError: if they are too many to be enumerated.
    """
    if states**length > _MOST_SEQUENCES:
        raise ValueError(
            f"{states} states at {length} steps have {states}^{length} sequences, more than {_MOST_SEQUENCES}; "
            "enumerate a shorter chain"
        )
    return jnp.asarray(np.array(list(itertools.product(range(states), repeat=length)), np.int32))


def _walked(first: Array, tables: Array, parallel: bool) -> Array:
    """Push probabilities ``[*batch, K]`` through stochastic matrices ``[T−1, *batch, K, K]``: ``[T, *batch, K]``."""
    if parallel:
        reached = jax.lax.associative_scan(jnp.matmul, tables)
        later = jnp.einsum("...i,t...ij->t...j", first, reached)
        return jnp.concatenate([first[None], later])

    def step(now: Array, table: Array) -> tuple[Array, Array]:
        following = jnp.einsum("...i,...ij->...j", now, table)
        return following, following

    _, later = jax.lax.scan(step, first, tables)
    return jnp.concatenate([first[None], later])


def _log_rows(logits: Array) -> Array:
    """Normalize logits over the last axis; a row of −∞ becomes uniform, so that what nothing reaches stays finite."""
    reached = jnp.max(logits, axis=-1, keepdims=True) > -jnp.inf
    return jax.nn.log_softmax(jnp.where(reached, logits, 0))


def _integrand(weights: Array, ours: Array, theirs: Array | None) -> Array:
    """``w (log p − log q)``, without q ``w log p``, of the shape of the weights."""
    apart = jnp.broadcast_to(ours, weights.shape)
    return weighted(weights, apart if theirs is None else apart - jnp.broadcast_to(theirs, weights.shape))
