"""The steps of the Kalman filter by square roots, one after another or by an associative scan.

A step conditions ``z ~ N(m, L Lᵀ)`` on ``−½ ‖y − C z‖²``. With ``Q = [T, G]`` the orthonormal rows of ``[I, (C L)ᵀ]``,
so that ``[I, (C L)ᵀ] = T⁻¹ Q`` with T upper triangular, the result is ``N(m⁺, L Tᵀ (L Tᵀ)ᵀ)`` with
``m⁺ = m + L Tᵀ c`` and ``c = G (y − C m)``, and the log-density of what is known is
``−½ ‖y − C m⁺‖² − ½ ‖Tᵀ c‖² + log|T|``, a sum of squares. No covariance is subtracted from another one, and none is
formed.
"""

from __future__ import annotations

__all__ = ["Moments", "Problem", "in_parallel", "one_by_one"]

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vifx.core.types import Array
from vifx.distributions.gaussian_chain import Factors
from vifx.distributions.small_matrices import (
    added,
    orthonormal_rows,
    product,
    squared_norm,
    times,
    transposed,
    triangular_and_unit,
)


class Problem(NamedTuple):
    """A chain and what is known of it, with time in front and 1 in place of a batch that shares a parameter.

    Attributes:
      prior: the parameters of the chain.
      matrix: C, ``[T, 1 or N, d, D]``.
      values: y, ``[T, N, d]``.
    """

    prior: Factors
    matrix: Array
    values: Array

    @property
    def scale_batch(self) -> tuple[int, ...]:
        """The batch of the covariances: 1 if they are those of all sequences."""
        prior = self.prior
        each = (prior.initial_scale_tril, prior.transition, prior.scale_tril, self.matrix)
        return jnp.broadcast_shapes(*(x.shape[-3:-2] for x in each))


class Moments(NamedTuple):
    """What is found of every step; scales have 1 in place of a batch that shares them.

    Attributes:
      log_probs: ``[T, N]`` in nats, without the constants.
      means: ``[T, N, D]``.
      scales: ``[T, 1 or N, D, D]``.
      predicted_means: ``[T, N, D]``.
      predicted_scales: ``[T, 1 or N, D, D]``.
    """

    log_probs: Array
    means: Array
    scales: Array
    predicted_means: Array
    predicted_scales: Array


def one_by_one(problem: Problem) -> Moments:
    """Filter by one scan over time (Kalman, 1960)."""
    prior = problem.prior
    mean, scale = _start(problem)
    # The last step predicts nothing.
    later = [jnp.concatenate([each, jnp.zeros((1, *each.shape[1:]), each.dtype)]) for each in prior[2:]]

    def step(carry: tuple[Array, Array], now: tuple[Array, ...]) -> tuple[tuple[Array, Array], Moments]:
        transition, offset, noise, matrix, values = now
        log_prob, mean, scale = _conditioned(*carry, matrix, values)
        following = times(transition, mean) + offset, added(product(transition, scale), noise)
        return following, Moments(log_prob, mean, scale, *carry)

    return jax.lax.scan(step, (mean, scale), (*later, problem.matrix, problem.values))[1]


@jax.custom_jvp
def in_parallel(problem: Problem) -> Moments:
    """Filter by an associative scan of depth ``log T``, with the derivatives of `one_by_one`.

    The square root of what several steps know of an earlier one is singular while they are few, where it has no
    derivative, though what is found from it has one.

    Reference: Särkkä & García-Fernández (2021), Temporal parallelization of Bayesian smoothers.
    """
    prior, (first_mean, first_scale) = problem.prior, _start(problem)
    mean, scale = first_mean[None], first_scale[None]
    if problem.values.shape[0] > 1:
        _, start_mean, start_scale = _conditioned(first_mean, first_scale, problem.matrix[0], problem.values[0])
        later = _elements(problem)
        first = _Element(
            jnp.zeros_like(later.transition[:1]),
            start_mean[None],
            start_scale[None],
            jnp.zeros_like(later.values[:1]),
            jnp.zeros_like(later.root[:1]),
        )
        found = jax.lax.associative_scan(_composed, jax.tree.map(lambda *x: jnp.concatenate(x), first, later))
        after = times(prior.transition, found.mean[:-1]) + prior.offset
        spread = added(product(prior.transition, found.scale[:-1]), prior.scale_tril)
        mean, scale = jnp.concatenate([mean, after]), jnp.concatenate([scale, spread])
    return Moments(*_conditioned(mean, scale, problem.matrix, problem.values), mean, scale)


@in_parallel.defjvp
def _step_by_step(primals: tuple[Problem], tangents: tuple[Problem]) -> tuple[Moments, Moments]:
    return jax.jvp(one_by_one, primals, tangents)


def _start(problem: Problem) -> tuple[Array, Array]:
    """Return the moments of the first step with the batches that they have later."""
    examples, size = problem.values.shape[1], problem.prior.initial_loc.shape[-1]
    mean = jnp.broadcast_to(problem.prior.initial_loc, (examples, size))
    return mean, jnp.broadcast_to(problem.prior.initial_scale_tril, (*problem.scale_batch, size, size))


def _rows(scale: Array, matrix: Array) -> tuple[Array, Array]:
    """Return T and G, the orthonormal rows of ``[I, (C L)ᵀ]``."""
    size = scale.shape[-1]
    seen = transposed(product(matrix, scale))
    identity = jnp.broadcast_to(jnp.eye(size, dtype=seen.dtype), (*seen.shape[:-1], size))
    found = orthonormal_rows(jnp.concatenate([identity, seen], axis=-1))
    return jnp.triu(found[..., :size]), found[..., size:]


def _conditioned(mean: Array, scale: Array, matrix: Array, values: Array) -> tuple[Array, Array, Array]:
    """Return the log-density of what is known in nats, and the mean and the square root given that."""
    upper, gain = _rows(scale, matrix)
    scale = product(scale, transposed(upper))
    move = times(gain, values - times(matrix, mean))
    mean = mean + times(scale, move)
    log_det = jnp.sum(jnp.log(jnp.diagonal(upper, axis1=-2, axis2=-1)), axis=-1)
    square = squared_norm(values - times(matrix, mean)) + squared_norm(times(transposed(upper), move))
    return jnp.broadcast_to(log_det, square.shape) - 0.5 * square, mean, scale


class _Element(NamedTuple):
    """Some steps: ``p(z_t | z_s, x) = N(A z_s + b, L Lᵀ)`` and ``q(x | z_s) ∝ exp(−½ ‖v − Zᵀ z_s‖²)``."""

    transition: Array
    mean: Array
    scale: Array
    values: Array
    root: Array


def _elements(problem: Problem) -> _Element:
    """Return the steps after the first one, ``[T−1, …]``."""
    prior, matrix, values = problem.prior, problem.matrix[1:], problem.values[1:]
    size = prior.initial_loc.shape[-1]
    lead = (values.shape[0], *problem.scale_batch)
    noise = jnp.broadcast_to(prior.scale_tril, (*lead, size, size))
    upper, gain = _rows(noise, matrix)
    scale, across = product(noise, transposed(upper)), transposed(gain)
    ahead = product(matrix, prior.transition)
    innovation = values - times(matrix, prior.offset)
    # What y says of the step before has the precision I − Gᵀ G: the squared norm of what Q leaves of [0, y].
    seen, move = product(gain, ahead), times(gain, innovation)
    beyond = jnp.concatenate([-product(transposed(upper), seen), ahead - product(across, seen)], axis=-2)
    rest = jnp.concatenate([-times(transposed(upper), move), innovation - times(across, move)], axis=-1)
    beyond = jnp.broadcast_to(beyond, (*lead, *beyond.shape[-2:]))
    root, unit = triangular_and_unit(transposed(beyond))
    return _Element(
        prior.transition - product(scale, seen),
        jnp.broadcast_to(prior.offset, (*values.shape[:-1], size)) + times(scale, move),
        scale,
        times(unit, rest),
        root,
    )


def _composed(first: _Element, then: _Element) -> _Element:
    matrix = transposed(then.root)
    upper, gain = _rows(first.scale, matrix)
    lower, _ = _rows(then.root, transposed(first.scale))
    # The middle step, given the earlier one and what the later steps say of it; and what they say of the earlier one.
    scale = product(first.scale, transposed(upper))
    innovation = then.values - times(matrix, first.mean)
    ahead = product(matrix, first.transition)
    mean = first.mean + times(scale, times(gain, innovation))
    transition = first.transition - product(scale, product(gain, ahead))
    both = jnp.concatenate([transposed(product(lower, ahead)), first.root], axis=-1)
    root, unit = triangular_and_unit(both)
    return _Element(
        product(then.transition, transition),
        times(then.transition, mean) + then.mean,
        added(product(then.transition, scale), then.scale),
        times(unit, jnp.concatenate([times(lower, innovation), first.values], axis=-1)),
        root,
    )
