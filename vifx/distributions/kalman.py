"""The Kalman filter and smoother: the exact posterior of a linear-Gaussian chain."""

from __future__ import annotations

__all__ = ["Filtered", "filtered", "smoothed"]

from typing import NamedTuple

import jax.numpy as jnp

from vifx.core.types import Array
from vifx.distributions.gaussian_chain import GaussianChain
from vifx.distributions.kalman_steps import Moments, Problem, in_parallel, one_by_one
from vifx.distributions.linear_evidence import LinearEvidence
from vifx.distributions.small_matrices import (
    lower_triangular,
    orthonormal_rows,
    product,
    times,
    transposed,
    triangular_inverse,
)


class Filtered(NamedTuple):
    """The distribution of each step given the steps up to it, and given the steps before it.

    Attributes:
      log_probs: ``log q(x_t | x_1 … x_{t−1})`` in nats, ``[N, T]``; their sum over time is ``log q(x)``.
      means: ``E[z_t | x_1 … x_t]``, ``[N, T, D]``.
      scale_trils: the Cholesky factors of the covariances, ``[N, T, D, D]``.
      predicted_means: ``E[z_t | x_1 … x_{t−1}]``, ``[N, T, D]``.
      predicted_scale_trils: the Cholesky factors of those covariances, ``[N, T, D, D]``.
    """

    log_probs: Array
    means: Array
    scale_trils: Array
    predicted_means: Array
    predicted_scale_trils: Array


def filtered(prior: GaussianChain, evidence: LinearEvidence, *, parallel: bool | None = None) -> Filtered:
    """Return the distribution of each step of a chain given the evidence up to it (Kalman, 1960).

    Steps without evidence are predicted, so that a prior that is longer than the data makes forecasts. The noise of the
    chain may be singular as long as the predicted covariances are not.

    Args:
      prior: a chain that runs forward, its batch that of the sequences or none.
      evidence: of every step.
      parallel: whether time is divided by an associative scan (Särkkä & García-Fernández, 2021); by default as `prior`
        says. Equal results up to rounding; derivatives are taken step by step.

    Raises:
      ValueError: the prior runs backward, or the shapes do not fit each other.
    """
    found = _moments(prior, evidence, prior.parallel if parallel is None else parallel)
    examples = found.means.shape[1]
    shared = [jnp.broadcast_to(each, (each.shape[0], examples, *each.shape[2:])) for each in found]
    return Filtered(*(jnp.moveaxis(each, 1, 0) for each in shared))


def smoothed(
    prior: GaussianChain, evidence: LinearEvidence, *, parallel: bool | None = None
) -> tuple[Array, GaussianChain]:
    """Return ``log q(x)`` in nats, ``[N]``, and the posterior of the chain (Rauch, Tung & Striebel, 1965).

    The posterior is a chain that runs backward, ``p(z_T | x) Π_t p(z_t | z_{t+1}, x_1 … x_t)``; its marginals are those
    of the smoother. What does not depend on the values is shared by all sequences, if the evidence allows it.

    Args:
      prior: a chain that runs forward, its batch that of the sequences or none.
      evidence: of every step.
      parallel: as of `filtered`; the posterior inherits it.

    Raises:
      ValueError: the prior runs backward, or the shapes do not fit each other.
    """
    parallel = prior.parallel if parallel is None else parallel
    found = _moments(prior, evidence, parallel)
    factors = prior.over_time(1)
    mean, scale, ahead = found.means[:-1], found.scales[:-1], product(factors.transition, found.scales[:-1])
    # [A L, L_Q] = L⁻ Q, whose rows are the step after; what they leave of [L, 0] is the noise of the step before.
    noise = jnp.broadcast_to(factors.scale_tril, ahead.shape)
    unit = orthonormal_rows(jnp.concatenate([ahead, noise], axis=-1)[..., ::-1, :])[..., ::-1, :]
    along = product(scale, transposed(unit[..., : scale.shape[-1]]))
    gain = product(along, triangular_inverse(found.predicted_scales[1:]))
    none = jnp.zeros_like(scale)
    rest = lower_triangular(jnp.concatenate([scale, none], axis=-1) - product(along, unit))
    posterior = GaussianChain(
        found.means[-1],
        _batch_first(found.scales[-1:])[..., 0, :, :],
        _batch_first(gain),
        jnp.moveaxis(mean - times(gain, found.predicted_means[1:]), 1, 0),
        _batch_first(rest),
        prior.length,
        reverse=True,
        parallel=parallel,
    )
    return jnp.sum(found.log_probs, axis=0), posterior


def _batch_first(each: Array) -> Array:
    """Return ``[N, T, …]``, or ``[T, …]`` of what all sequences share."""
    return each[:, 0] if each.shape[1] == 1 else jnp.moveaxis(each, 1, 0)


def _moments(prior: GaussianChain, evidence: LinearEvidence, parallel: bool) -> Moments:
    """Filter, with time in front."""
    _check(prior, evidence)
    matrix = evidence.matrix
    if matrix.ndim == 4:
        matrix = jnp.moveaxis(matrix, 1, 0)
    else:
        matrix = jnp.broadcast_to(matrix, (prior.length, *matrix.shape[-2:]))[:, None]
    problem = Problem(prior.over_time(1), matrix, jnp.moveaxis(evidence.values, 1, 0))
    found = (in_parallel if parallel else one_by_one)(problem)
    return found._replace(log_probs=found.log_probs + jnp.moveaxis(evidence.constants, 1, 0))


def _check(prior: GaussianChain, evidence: LinearEvidence) -> None:
    if prior.reverse:
        raise ValueError("prior must be a chain that runs forward, got one with reverse=True; filter from its start")
    length, size = prior.event_shape
    shape = evidence.values.shape
    if len(shape) != 3 or shape[1] != length or prior.batch_shape not in ((), shape[:1]):
        raise ValueError(
            f"evidence.values must have the shape [sequences, {length}, d] for a prior of batch "
            f"{list(prior.batch_shape)} and events {[length, size]}, got {list(shape)}; pad short sequences with "
            "steps of which nothing is known"
        )
    event = (shape[2], size)
    if evidence.matrix.shape not in (event, (length, *event), (shape[0], length, *event)):
        raise ValueError(
            f"evidence.matrix must have the shape {list(event)}, {[length, *event]} or {[shape[0], length, *event]} "
            f"for values {list(shape)} and a prior of size {size}, got {list(evidence.matrix.shape)}"
        )
    if evidence.constants.shape != shape[:2]:
        raise ValueError(
            f"evidence.constants must have the shape {list(shape[:2])} of the steps, got "
            f"{list(evidence.constants.shape)}"
        )
