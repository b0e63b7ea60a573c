"""Forward–backward: the posterior of a Markov chain, step by step or by an associative scan.

With emissions that depend on one step of the chain each,

    q(x, z) = π(z_1) Π_t A(z_t, z_{t+1}) Π_t q(x_t | z_t),

the posterior is a chain again. Messages ``β_t(i) = q(x_{t+1} … x_T | z_t = i)`` are passed backward in logarithms; its
initial distribution is ``∝ π q(x_1|·) β_1`` and its transitions are ``∝ A(i, j) q(x_{t+1}|j) β_{t+1}(j)``, from which
its marginals follow forward.
"""

from __future__ import annotations

__all__ = ["ChainTable", "filtered", "smoothed"]

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.core.factor import Factor
from vifx.core.types import Array
from vifx.distributions import MarkovChain


class ChainTable(NamedTuple):
    """A generative joint of one chain and of known variables, as potentials of the chain.

    Attributes:
      item: the factor of the chain.
      prior: the chain before the data, one for each example or one for all.
      steps: the log-density in nats of what is known of each step in every state, ``[examples, T, K]``.
      rest: that of what does not depend on the chain, ``[examples]``.
      inside: which steps a sequence has, ``[examples, T]``.
    """

    item: Factor
    prior: MarkovChain
    steps: Array
    rest: Array
    inside: Array


def smoothed(table: ChainTable, *, temperature: float | Array = 1.0) -> tuple[Array, MarkovChain]:
    """Return ``log q(x)`` in nats, ``[examples]``, and the posterior of the chain (Baum et al., 1970).

    At another temperature it is ``T log Σ_z q(x, z)^(1/T)`` and the chain ``∝ q(x, z)^(1/T)``; at 0 the log-density of
    the likeliest chain (Viterbi, 1967), which then has probability one.

    Args:
      table: as `chain_table` makes it.
      temperature: T ≥ 0, a number or a scalar.
    """
    if isinstance(temperature, float) and temperature > 0:
        total, chain = _smoothed(table, 1 / temperature)
        return temperature * total + table.rest, chain
    exact, chain = _smoothed(table, 1.0)
    path = chain.most_likely()
    best = exact + chain.log_prob(path)
    hard = _certain(chain, path)
    if isinstance(temperature, float):
        return best + table.rest, hard
    safe = jnp.where(temperature > 0, temperature, 1).astype(exact.dtype)
    total, soft = _smoothed(table, 1 / safe)
    total = jnp.where(temperature > 0, safe * total, best) + table.rest
    logits = jax.tree.map(lambda warm, cold: jnp.where(temperature > 0, warm, cold), soft, hard)
    return total, logits


def filtered(table: ChainTable) -> tuple[Array, Array, Array]:
    """Pass messages forward: what is known of each state from the observations up to it, and from those before it.

    Args:
      table: as `chain_table` makes it.

    Returns:
      ``log q(x_t | x_1 … x_{t−1})`` in nats, ``[examples, T]``, and ``log p(z_t | x_1 … x_t)`` and
      ``log p(z_t | x_1 … x_{t−1})``, ``[examples, T, K]`` each.
    """
    steps = jnp.moveaxis(table.steps, 1, 0)
    tables = _over_time(table.prior.transition_log_probs, steps)

    def seen(before: Array, step: Array) -> tuple[Array, Array]:
        total = _log_sum(before + step)
        return before + step - _finite(total)[:, None], total

    def forward(now: Array, at: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array, Array]]:
        table, step = at
        shape = (*now.shape, now.shape[-1])
        before = _log_sum(jnp.swapaxes(now[:, :, None] + jnp.broadcast_to(table, shape), 1, 2))
        after, total = seen(before, step)
        return after, (total, after, before)

    start = jnp.broadcast_to(table.prior.initial_log_probs, steps.shape[1:])
    first, total = seen(start, steps[0])
    _, later = jax.lax.scan(forward, first, (tables, steps[1:]))
    joined = (jnp.concatenate([one[None], each]) for one, each in zip((total, first, start), later, strict=True))
    log_probs, current, predicted = (jnp.moveaxis(each, 0, 1) for each in joined)
    return log_probs, current, predicted


def _over_time(tables: Array, steps: Array) -> Array:
    """Return transitions with time in front, ``[T−1, examples or 1, K, K]``."""
    length, _, states = steps.shape
    tables = tables[None] if tables.ndim == 2 else tables  # [times or 1, K, K] or [examples, times, K, K]
    tables = jnp.moveaxis(tables, -3, 0)
    tables = tables if tables.ndim == 4 else tables[:, None]
    return jnp.broadcast_to(tables, (length - 1, tables.shape[1], states, states))


def _smoothed(table: ChainTable, power: float | Array) -> tuple[Array, MarkovChain]:
    """Pass messages backward: the posterior's transitions are ``∝ A_ij q(x_{t+1}|j) β_{t+1}(j)``."""
    prior, steps = table.prior, jnp.moveaxis(table.steps, 1, 0)
    length, examples, states = steps.shape
    initial, tables = prior.initial_log_probs, prior.transition_log_probs
    if not (isinstance(power, float) and power == 1):
        initial, tables, steps = initial * power, tables * power, steps * power
    tables = _over_time(tables, steps)
    run = _messages_in_parallel if prior.parallel and length > 1 else _messages
    messages, scale = run(tables, steps)
    start = jnp.broadcast_to(initial, (examples, states)) + messages[0]
    later = jnp.moveaxis(tables, 0, 1) + jnp.moveaxis(messages[1:], 0, 1)[:, :, None, :]
    later = jnp.broadcast_to(later, (examples, length - 1, states, states))
    return _log_sum(start) + scale, MarkovChain(start, later, length, parallel=prior.parallel)


def _messages(tables: Array, steps: Array) -> tuple[Array, Array]:
    """Return ``log q(x_t|k) β_t(k)`` up to a constant of each time, ``[T, examples, K]``, and the sum of them."""

    def backward(message: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        table, step = now
        shape = (*message.shape, message.shape[-1])
        beta = _log_sum(jnp.broadcast_to(table, shape) + message[:, None, :])
        scale = _finite(jnp.max(beta, axis=-1))
        new = step + (beta - scale[:, None])
        return new, (new, scale)

    _, (messages, scales) = jax.lax.scan(backward, steps[-1], (tables, steps[:-1]), reverse=True)
    return jnp.concatenate([messages, steps[-1:]]), jnp.sum(scales, axis=0)


def _messages_in_parallel(tables: Array, steps: Array) -> tuple[Array, Array]:
    """The same by an associative scan over matrices of one step."""

    def combine(late: tuple[Array, Array], early: tuple[Array, Array]) -> tuple[Array, Array]:
        product = _log_sum(jnp.swapaxes(late[0], -1, -2)[..., None, :, :] + early[0][..., :, None, :])
        scale = _finite(jnp.max(product, axis=(-2, -1)))
        return product - scale[..., None, None], late[1] + early[1] + scale

    each = tables + steps[1:][:, :, None, :]
    none = jnp.zeros(each.shape[:2], each.dtype)
    matrices, scales = jax.lax.associative_scan(combine, (each, none), reverse=True)
    messages = jnp.concatenate([steps[:-1] + _log_sum(matrices), steps[-1:]])
    return messages, scales[0]


def _certain(chain: MarkovChain, path: Array) -> MarkovChain:
    """Return the chain that is a path for sure."""
    chosen = jax.nn.one_hot(path, chain.states, dtype=bool)
    logits = jnp.where(chosen, 0.0, -jnp.inf).astype(chain.initial_logits.dtype)
    later = jnp.broadcast_to(logits[:, 1:, None, :], chain.transition_logits.shape)
    return MarkovChain(logits[:, 0], later, chain.length, parallel=chain.parallel)


def _log_sum(x: Array) -> Array:
    """``log Σ exp`` over the last axis, of value and gradient finite but for the value −∞ where all are."""
    best = _finite(jax.lax.stop_gradient(jnp.max(x, axis=-1)))
    total = jnp.sum(jnp.exp(x - best[..., None]), axis=-1)
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)) + best, -jnp.inf)


def _finite(x: Array) -> Array:
    return jnp.where(x > -jnp.inf, x, 0)
