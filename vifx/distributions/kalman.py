"""The Kalman filter and smoother: the posterior of a Gaussian chain, step by step or by an associative scan.

With what is known of each step as ``log q(x_t | z_t) = c_t − ½ ‖v_t − H_t z_t‖²``, the filter carries the mean and a
square root of the covariance, ``P = L Lᵀ``. With ``M = I + Lᵀ Hᵀ H L = G Gᵀ`` an observation changes them to

    w = M⁻¹ Lᵀ Hᵀ (v − H m),   m⁺ = m + L w,   L⁺ = L G⁻ᵀ,

and adds ``c − ½ (‖v − H m⁺‖² + ‖w‖²) − log |G|`` to the log-likelihood: sums of squares, where nothing cancels. A step
of the chain makes of ``[A L⁺, L_Q]`` its triangular factor. So a covariance is never a difference, and everything but
the residuals is of the size of the state, however much is observed.
"""

from __future__ import annotations

__all__ = ["Filtered", "filtered", "smoothed"]

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular

from vifx.core.types import Array
from vifx.distributions.gaussian_chain import GaussianChain
from vifx.distributions.linear_evidence import LinearEvidence
from vifx.distributions.linear_recursion import times
from vifx.distributions.triangular import lower_triangular


class Filtered(NamedTuple):
    """What is known of each step from the observations up to it.

    Attributes:
      log_probs: ``log q(x_t | x_1 … x_{t−1})`` in nats, ``[examples, T]``.
      means: ``E[z_t | x_1 … x_t]``, ``[examples, T, D]``.
      roots: square roots of the covariances, ``[examples, T, D, D]``, not triangular: ``Cov = root rootᵀ``.
      predicted_means: ``E[z_t | x_1 … x_{t−1}]``, ``[examples, T, D]``.
      predicted_scale_trils: the Cholesky factors of those covariances, ``[examples, T, D, D]``.
    """

    log_probs: Array
    means: Array
    roots: Array
    predicted_means: Array
    predicted_scale_trils: Array


def filtered(prior: GaussianChain, evidence: LinearEvidence) -> Filtered:
    """Return what is known of each step from the observations up to it (Kalman, 1960).

    Args:
      prior: the chain, forward in time, one for all examples or one for each.
      evidence: what is known of each step.
    """
    examples, length = evidence.values.shape[:2]
    matrix, values = evidence.matrix, evidence.values
    precision = jnp.swapaxes(matrix, -1, -2) @ matrix
    pulls = jnp.einsum("...di,ntd->nti" if matrix.ndim == 2 else "ntdi,ntd->nti", matrix, values)
    steps = prior.steps(examples)
    walk = _in_parallel if prior.parallel and length > 1 else _one_by_one
    means, roots, before, factors, inner = walk(prior, examples, precision, pulls, steps)
    found = jnp.einsum("...di,nti->ntd" if matrix.ndim == 2 else "ntdi,nti->ntd", matrix, means)
    log_probs = evidence.constants - 0.5 * jnp.sum((values - found) ** 2, axis=-1) + inner
    return Filtered(log_probs, means, roots, before, factors)


def smoothed(prior: GaussianChain, evidence: LinearEvidence) -> tuple[Array, GaussianChain]:
    """Return ``log q(x)`` in nats, ``[examples]``, and the posterior of the chain (Rauch, Tung & Striebel, 1965).

    The posterior is a chain that runs backward: with ``J_t = P_t Aᵀ (P⁻_{t+1})⁻¹``,
    ``z_t | z_{t+1} ~ N(m_t + J_t (z_{t+1} − m⁻_{t+1}), (I − J A) P_t (I − J A)ᵀ + J Q Jᵀ)``.

    Args:
      prior: the chain, forward in time, one for all examples or one for each.
      evidence: what is known of each step.
    """
    forward = filtered(prior, evidence)
    root, mean = forward.roots[:, :-1], forward.means[:, :-1]
    ahead, factor = forward.predicted_means[:, 1:], forward.predicted_scale_trils[:, 1:]
    transition, _, noise = (jnp.moveaxis(each, 0, 1) for each in prior.steps(len(mean)))
    moved = transition @ root
    gain = jnp.swapaxes(cho_solve((factor, True), moved @ jnp.swapaxes(root, -1, -2)), -1, -2)
    left = root - gain @ moved
    scale = lower_triangular(jnp.concatenate([left, gain @ noise], axis=-1))
    offset = mean - jnp.einsum("ntij,ntj->nti", gain, ahead)
    last = lower_triangular(forward.roots[:, -1])
    posterior = GaussianChain(
        forward.means[:, -1], last, gain, offset, scale, prior.length, reverse=True, parallel=prior.parallel
    )
    return jnp.sum(forward.log_probs, axis=1), posterior


def _updated(mean: Array, factor: Array, precision: Array, pull: Array) -> tuple[Array, Array, Array]:
    """Return the mean and root after an observation, and ``−½ ‖w‖² − log |G|``, for each example."""
    inner = jnp.swapaxes(factor, -1, -2) @ precision @ factor
    lower = _cholesky_of_one_and(inner)
    push = pull - times(precision, mean)
    move = cho_solve((lower, True), jnp.einsum("...ji,...j->...i", factor, push)[..., None])[..., 0]
    root = _divided(factor, lower)
    log_det = jnp.sum(jnp.log(jnp.diagonal(lower, axis1=-2, axis2=-1)), axis=-1)
    return mean + times(factor, move), root, -0.5 * jnp.sum(move**2, axis=-1) - log_det


def _one_by_one(
    prior: GaussianChain, examples: int, precision: Array, pulls: Array, steps: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, Array, Array]:
    size = prior.event_shape[-1]
    start = jnp.broadcast_to(prior.initial_loc, (examples, size))
    spread = jnp.broadcast_to(prior.initial_scale_tril, (examples, size, size))
    alike = precision.ndim == 2
    timed = None if alike else jnp.moveaxis(precision, 1, 0)
    over = jnp.moveaxis(pulls, 1, 0)

    def seen(mean: Array, factor: Array, at: Array | None, pull: Array) -> tuple[Array, Array, Array]:
        known = jnp.broadcast_to(precision if at is None else at, factor.shape)
        return _updated(mean, factor, known, pull)

    first = seen(start, spread, None if timed is None else timed[0], over[0])

    def step(now: tuple[Array, Array], by: tuple[tuple[Array, Array, Array], Array | None, Array]):  # noqa: ANN202
        (transition, offset, noise), at, pull = by
        mean = jnp.einsum("nij,nj->ni", transition, now[0]) + offset
        factor = lower_triangular(jnp.concatenate([transition @ now[1], noise], axis=-1))
        after, root, inner = seen(mean, factor, at, pull)
        return (after, root), (after, root, mean, factor, inner)

    rest = None if timed is None else timed[1:]
    _, later = jax.lax.scan(step, first[:2], (steps, rest, over[1:]))
    whole = (first[0], first[1], start, spread, first[2])
    joined = (jnp.concatenate([one[None], each]) for one, each in zip(whole, later, strict=True))
    return tuple(jnp.moveaxis(each, 0, 1) for each in joined)  # pyright: ignore[reportReturnType]


def _in_parallel(
    prior: GaussianChain, examples: int, precision: Array, pulls: Array, steps: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array, Array, Array]:
    """The same by an associative scan of square roots (Särkkä & García-Fernández, 2021; Yaghoobi et al., 2022).

    An element is ``p(z_k | z_j, x) = N(A z_j + b, U Uᵀ)`` with what the observations between say of z_j,
    ``exp(ηᵀ z_j − ½ ‖Zᵀ z_j‖²)``; that of the first step has lost its parent.
    """
    size = prior.event_shape[-1]
    start = jnp.broadcast_to(prior.initial_loc, (examples, size))
    spread = jnp.broadcast_to(prior.initial_scale_tril, (examples, size, size))
    over = jnp.moveaxis(pulls, 1, 0)
    lead = (prior.length, examples, size, size)
    known = jnp.broadcast_to(precision if precision.ndim == 2 else jnp.moveaxis(precision, 1, 0), lead)
    transition, offset, noise = steps
    mean, root, _ = _updated(start, spread, known[0], over[0])
    own_mean, own_root, _ = _updated(offset, noise, known[1:], over[1:])
    # What an observation says of the step before: N (I + Nᵀ Q N)⁻¹ Nᵀ with N Nᵀ its precision.
    values, vectors = jnp.linalg.eigh(known[1:])
    half = vectors * jnp.sqrt(jnp.maximum(values, 0))[..., None, :]
    inner = jnp.swapaxes(half, -1, -2) @ noise
    lower = _cholesky_of_one_and(inner @ jnp.swapaxes(inner, -1, -2))
    back = jnp.swapaxes(transition, -1, -2) @ _divided(half, lower)
    push = over[1:] - jnp.einsum("tnij,tnj->tni", known[1:], offset)
    kept = own_root @ jnp.swapaxes(own_root, -1, -2)
    pull = push - jnp.einsum("tnij,tnjk,tnk->tni", known[1:], kept, push)
    moved = transition - kept @ known[1:] @ transition
    rest = (moved, own_mean, own_root, jnp.einsum("tnji,tnj->tni", transition, pull), back)
    none = (jnp.zeros_like(root), mean, root, jnp.zeros_like(mean), jnp.zeros_like(root))
    elements = tuple(jnp.concatenate([one[None], each]) for one, each in zip(none, rest, strict=True))
    _, means, roots, _, _ = jax.lax.associative_scan(_combined, elements)
    ahead = jnp.einsum("tnij,tnj->tni", transition, means[:-1]) + offset
    factors = lower_triangular(jnp.concatenate([transition @ roots[:-1], noise], axis=-1))
    before, factors = jnp.concatenate([start[None], ahead]), jnp.concatenate([spread[None], factors])
    means, roots, found = _updated(before, factors, known, over)
    return tuple(  # pyright: ignore[reportReturnType]
        jnp.moveaxis(each, 0, 1) for each in (means, roots, before, factors, found)
    )


def _combined(early: tuple[Array, ...], late: tuple[Array, ...]) -> tuple[Array, ...]:
    (a, b, u, pull, z), (a_late, b_late, u_late, pull_late, z_late) = early, late
    both = jnp.swapaxes(u, -1, -2) @ z_late
    turned = jnp.swapaxes(both, -1, -2)
    lower = _cholesky_of_one_and(both @ turned)
    other = _cholesky_of_one_and(turned @ both)
    left = _divided(u, lower)
    # (I + C J)⁻¹ = I − left right, with C = U Uᵀ of the early part and J = Z Zᵀ of the late one
    right = solve_triangular(lower, both, lower=True) @ jnp.swapaxes(z_late, -1, -2)
    mean = b + times(u, times(jnp.swapaxes(u, -1, -2), pull_late))
    push = pull_late - times(z_late, times(jnp.swapaxes(z_late, -1, -2), b))
    push = push - times(jnp.swapaxes(right, -1, -2), times(jnp.swapaxes(left, -1, -2), push))
    back = jnp.swapaxes(a, -1, -2)
    return (
        a_late @ (a - left @ (right @ a)),
        times(a_late, mean - times(left, times(right, mean))) + b_late,
        lower_triangular(jnp.concatenate([a_late @ left, u_late], axis=-1)),
        times(back, push) + pull,
        lower_triangular(jnp.concatenate([back @ _divided(z_late, other), z], axis=-1)),
    )


def _cholesky_of_one_and(matrix: Array) -> Array:
    """Return the Cholesky factor of ``I + M``."""
    return jnp.linalg.cholesky(matrix + jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape))


def _divided(root: Array, lower: Array) -> Array:
    """Return ``R G⁻ᵀ``."""
    return jnp.swapaxes(solve_triangular(lower, jnp.swapaxes(root, -1, -2), lower=True), -1, -2)
