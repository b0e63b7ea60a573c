"""Linear-Gaussian chains: the prior and the posterior of a linear dynamical system."""

from __future__ import annotations

__all__ = ["GaussianChain", "Moments"]

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro
from jax.scipy.linalg import solve_triangular

from vifx.checks import require_integer
from vifx.core.types import Array, Estimate, Key
from vifx.distributions.cholesky import whitened
from vifx.distributions.each_step import EachStep
from vifx.distributions.linear_evidence import probed
from vifx.distributions.supports import inside_of


class Moments(NamedTuple):
    """The moments of a Gaussian chain.

    Attributes:
      means: ``E z_t``, ``[*batch, T, D]``.
      covariances: ``Cov z_t``, ``[*batch, T, D, D]``.
      cross_covariances: ``Cov(z_{t+1}, z_t)``, ``[*batch, T−1, D, D]``.
    """

    means: Array
    covariances: Array
    cross_covariances: Array


class GaussianChain(numpyro.Distribution):
    """A chain of vectors, ``z_1 ~ N(m, P)``, ``z_{t+1} = A_t z_t + b_t + L_t ε``.

    One event is a whole path, ``[T, D]``. With `reverse` time runs backward: z_T has the initial distribution, and
    ``z_t = A_t z_{t+1} + b_t + L_t ε``, which is the form of the posterior that a smoother finds. Arrays that belong to
    steps have the earlier of its two times as index, in either direction.

    Args:
      initial_loc: m, ``[*batch, D]``.
      initial_scale_tril: the Cholesky factor of P, ``[*batch, D, D]`` or ``[D, D]``.
      transition: A, ``[*batch, T−1, D, D]``, or ``[D, D]`` for all steps and examples.
      offset: b, ``[*batch, T−1, D]`` or ``[D]``.
      scale_tril: L, lower triangular, ``[*batch, T−1, D, D]`` or ``[D, D]``.
      length: T.
      reverse: whether the chain starts at its last step.
      parallel: whether time is divided by an associative scan, or taken step by step. Equal up to rounding.

    Raises:
      ValueError: if the shapes do not fit each other or `length`.

    >>> import jax.numpy as jnp
    >>> GaussianChain(jnp.zeros((5, 2)), jnp.eye(2), 0.9 * jnp.eye(2), jnp.zeros(2), jnp.eye(2), 10).event_shape
    (10, 2)
    """

    arg_constraints = {  # noqa: RUF012
        "initial_loc": numpyro.constraints.real_vector,
        "initial_scale_tril": numpyro.constraints.lower_cholesky,
        "transition": numpyro.constraints.real_matrix,
        "offset": numpyro.constraints.real_vector,
        "scale_tril": numpyro.constraints.lower_cholesky,
    }
    reparametrized_params = list(arg_constraints)  # noqa: RUF012
    pytree_aux_fields = ("length", "reverse", "parallel")

    def __init__(
        self,
        initial_loc: Array,
        initial_scale_tril: Array,
        transition: Array,
        offset: Array,
        scale_tril: Array,
        length: int,
        *,
        reverse: bool = False,
        parallel: bool = False,
    ) -> None:
        require_integer(length, "length")
        self.initial_loc, self.initial_scale_tril = jnp.asarray(initial_loc), jnp.asarray(initial_scale_tril)
        self.transition, self.offset = jnp.asarray(transition), jnp.asarray(offset)
        self.scale_tril = jnp.asarray(scale_tril)
        self.length, self.reverse, self.parallel = length, bool(reverse), bool(parallel)
        if not self.initial_loc.ndim:
            raise ValueError("initial_loc must be vectors [*batch, D], got a number")
        batch, size = self.initial_loc.shape[:-1], self.initial_loc.shape[-1]
        steps, matrix = (*batch, length - 1), (size, size)
        allowed = {
            "initial_scale_tril": (matrix, (*batch, *matrix)),
            "transition": (matrix, (*steps, *matrix)),
            "offset": ((size,), (*steps, size)),
            "scale_tril": (matrix, (*steps, *matrix)),
        }
        for name, shapes in allowed.items():
            if getattr(self, name).shape not in shapes:
                raise ValueError(
                    f"{name} of shape {list(getattr(self, name).shape)} must be {list(shapes[0])} or "
                    f"{list(shapes[1])}, for initial_loc of shape {[*batch, size]} and length {length}"
                )
        super().__init__(batch, (length, size), validate_args=False)

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """Paths of finite numbers."""
        return numpyro.constraints.independent(numpyro.constraints.real, 2)

    def moments(self) -> Moments:
        """Return all means, covariances and cross-covariances, by one pass along the chain."""
        batch, size = self.batch_shape, self.event_shape[-1]
        root = jnp.broadcast_to(self.initial_scale_tril, (*batch, size, size))
        first = (self.initial_loc, root @ jnp.swapaxes(root, -1, -2))
        transition, offset, scale = self.over_time()
        noise = scale @ jnp.swapaxes(scale, -1, -2)
        walk = _walked_in_parallel if self.parallel and self.length > 1 else _walked
        means, covariances = walk(first, transition, offset, noise, self.reverse)
        means, covariances = jnp.moveaxis(means, 0, -2), jnp.moveaxis(covariances, 0, -3)
        pushed = jnp.broadcast_to(self.transition, (*batch, self.length - 1, size, size))
        if self.reverse:
            return Moments(means, covariances, covariances[..., 1:, :, :] @ jnp.swapaxes(pushed, -1, -2))
        return Moments(means, covariances, pushed @ covariances[..., :-1, :, :])

    @property
    def means(self) -> Array:
        """``E z_t``, ``[*batch, T, D]``."""
        return self.moments().means

    @property
    def covariances(self) -> Array:
        """``Cov z_t``, ``[*batch, T, D, D]``."""
        return self.moments().covariances

    @property
    def cross_covariances(self) -> Array:
        """``Cov(z_{t+1}, z_t)``, ``[*batch, T−1, D, D]``."""
        return self.moments().cross_covariances

    def over_time(self) -> tuple[Array, Array, Array]:
        """Return A, b and L with a time axis that leads, ``[T−1, *batch, ...]``."""
        lead, size = (self.length - 1, *self.batch_shape), self.event_shape[-1]

        def timed(array: Array, event: tuple[int, ...]) -> Array:
            each = array if array.ndim == len(event) else jnp.moveaxis(array, -1 - len(event), 0)
            return jnp.broadcast_to(each, (*lead, *event))

        return timed(self.transition, (size, size)), timed(self.offset, (size,)), timed(self.scale_tril, (size, size))

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats of paths ``[..., T, D]``: ``[...]``; −∞ for values that are not finite."""
        shape = jnp.broadcast_shapes(value.shape, (*self.batch_shape, *self.event_shape))
        inside, value = inside_of(self.support, jnp.broadcast_to(value, shape), event=2)
        first, before, after = self._ordered(value)
        residual = after - _applied(self.transition, before) - jnp.broadcast_to(self.offset, after.shape)
        start = first - jnp.broadcast_to(self.initial_loc, first.shape)
        squares = _squares(self.initial_scale_tril, start) + jnp.sum(_squares(self.scale_tril, residual), axis=-1)
        constant = 0.5 * math.prod(self.event_shape) * math.log(2 * math.pi)
        log_det = jnp.broadcast_to(self._log_det(), squares.shape)
        return jnp.where(inside, -0.5 * squares - log_det - constant, -jnp.inf)

    def _ordered(self, value: Array) -> tuple[Array, Array, Array]:
        """Return the first step of the chain, the steps that are left and those that are reached, by earlier time."""
        early, late = value[..., :-1, :], value[..., 1:, :]
        return (value[..., -1, :], late, early) if self.reverse else (value[..., 0, :], early, late)

    def _log_det(self) -> Array:
        """Half the logarithm of the determinant of the covariance of whole paths, ``[*batch]``."""
        initial, each = _log_diagonal(self.initial_scale_tril), _log_diagonal(self.scale_tril)
        total = each * (self.length - 1) if self.scale_tril.ndim == 2 else jnp.sum(each, axis=-1)
        return jnp.broadcast_to(initial, self.batch_shape) + jnp.broadcast_to(total, self.batch_shape)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw paths step by step, reparameterized, ``[*sample_shape, *batch, T, D]``."""
        shape, size = (*sample_shape, *self.batch_shape), self.event_shape[-1]
        noise = jax.random.normal(key, (self.length, *shape, size), self.initial_loc.dtype)
        transition, offset, scale = self.over_time()
        start = _applied(self.initial_scale_tril, noise[0])

        def step(state: Array, now: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
            transition, offset, scale, noise = now
            moved = _applied(transition, state) + _applied(scale, noise) + jnp.broadcast_to(offset, state.shape)
            return moved, moved

        first = start + jnp.broadcast_to(self.initial_loc, start.shape)
        _, later = jax.lax.scan(step, first, (transition, offset, scale, noise[1:]), reverse=self.reverse)
        path = jnp.concatenate([later, first[None]] if self.reverse else [first[None], later])
        return jnp.moveaxis(path, 0, -2)

    def entropy(self) -> Array:
        """``½ log |2π e Σ|`` in nats, Σ the covariance of whole paths, ``[*batch]``."""
        return self._log_det() + 0.5 * math.prod(self.event_shape) * (math.log(2 * math.pi) + 1)

    expectation = "exact, by the Kalman smoother"
    """How an expectation under a chain is taken, see `vifx.core.types.Structured`."""

    def probes(self) -> Array:
        """Return paths that stay at zero or at a unit vector, ``[D + 1, T, D]``: an affine map follows from them."""
        size, dtype = self.event_shape[-1], self.initial_loc.dtype
        points = jnp.concatenate([jnp.zeros((1, size), dtype), jnp.eye(size, dtype=dtype)])
        return jnp.broadcast_to(points[:, None], (size + 1, self.length, size))

    def expected_log_prob(self, conditional: EachStep, value: Array) -> Array:
        """Return ``E Σ_t log q(x_t | z_t)`` in nats, ``[rows]``, from the means and covariances of the steps.

        ``E log N(x; C z + d, R) = log N(x; C E z + d, R) − ½ tr(R⁻¹ C Cov(z) Cᵀ)``.

        Args:
          conditional: the emissions at the `probes`, ``[(D + 1) × rows]`` members, probe by probe.
          value: x, ``[rows, T, d]``.

        Raises:
          ValueError: if they are not emissions of one step each that are affine in it.
        """
        evidence = probed(conditional, value)
        means, covariances, _ = self.moments()
        residual = evidence.values - _applied(evidence.matrix, means)
        spread = jnp.sum((evidence.matrix @ covariances) * evidence.matrix, axis=(2, 3))
        return jnp.sum(evidence.constants - 0.5 * (jnp.sum(residual**2, axis=-1) + spread), axis=1)

    def kl_estimate(self, other: object) -> Estimate | None:
        """Return an exact estimate of KL(self ‖ other) in nats if the other one is a Gaussian chain, else None."""
        return Estimate(lambda _: self.kl(other), "closed form", False) if isinstance(other, GaussianChain) else None

    def kl(self, other: GaussianChain) -> Array:
        """Return ``KL(self ‖ other)`` in nats, ``[*batch]``, from the moments of pairs of steps.

        Args:
          other: a chain of as many steps of the same size, in either direction, its batch that of this one or none.

        Raises:
          ValueError: if it has another event.
        """
        if self.event_shape != other.event_shape:
            raise ValueError(
                f"a chain of events {list(self.event_shape)} is compared with one of events {list(other.event_shape)}; "
                "make the two agree"
            )
        moments = self.moments()
        means, covariances, cross = moments
        first, before, after = other._ordered(means)
        residual = after - _applied(other.transition, before) - jnp.broadcast_to(other.offset, after.shape)
        early, late = covariances[..., :-1, :, :], covariances[..., 1:, :, :]
        left, reached, joint = (late, early, jnp.swapaxes(cross, -1, -2)) if other.reverse else (early, late, cross)
        moved = jnp.broadcast_to(other.transition, left.shape)
        # Cov(after − A before) = Cov(after) − A Cov(before, after) − Cov(after, before) Aᵀ + A Cov(before) Aᵀ
        both = joint @ jnp.swapaxes(moved, -1, -2)
        spread = reached - both - jnp.swapaxes(both, -1, -2) + moved @ left @ jnp.swapaxes(moved, -1, -2)
        start = first - jnp.broadcast_to(other.initial_loc, first.shape)
        own = covariances[..., -1 if other.reverse else 0, :, :]
        squares = _squares(other.initial_scale_tril, start) + _traces(other.initial_scale_tril, own)
        each = _squares(other.scale_tril, residual) + _traces(other.scale_tril, spread)
        squares = squares + jnp.sum(each, axis=-1)
        log_det = jnp.broadcast_to(other._log_det(), squares.shape) - jnp.broadcast_to(self._log_det(), squares.shape)
        return log_det + 0.5 * (squares - math.prod(self.event_shape))


def _walked(
    first: tuple[Array, Array], transition: Array, offset: Array, noise: Array, reverse: bool
) -> tuple[Array, Array]:
    """Push a mean and a covariance through the steps: ``[T, *batch, D]`` and ``[T, *batch, D, D]``."""

    def step(
        now: tuple[Array, Array], by: tuple[Array, Array, Array]
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        transition, offset, noise = by
        mean = _applied(transition, now[0]) + offset
        spread = transition @ now[1] @ jnp.swapaxes(transition, -1, -2) + noise
        following = mean, 0.5 * (spread + jnp.swapaxes(spread, -1, -2))
        return following, following

    _, later = jax.lax.scan(step, first, (transition, offset, noise), reverse=reverse)
    parts = zip(first, later, strict=True)
    joined = (jnp.concatenate([later, one[None]] if reverse else [one[None], later]) for one, later in parts)
    means, covariances = joined
    return means, covariances


def _walked_in_parallel(
    first: tuple[Array, Array], transition: Array, offset: Array, noise: Array, reverse: bool
) -> tuple[Array, Array]:
    """The same by an associative scan over affine maps with noise, of which the first has lost its parent."""

    def combine(early: tuple[Array, ...], late: tuple[Array, ...]) -> tuple[Array, ...]:
        (a, b, q), (c, d, r) = early, late
        spread = c @ q @ jnp.swapaxes(c, -1, -2) + r
        return c @ a, _applied(c, b) + d, 0.5 * (spread + jnp.swapaxes(spread, -1, -2))

    mean, covariance = first
    own = (jnp.zeros_like(covariance), mean, covariance)
    maps = (transition, offset, noise)
    ends = [(each, one[None]) if reverse else (one[None], each) for one, each in zip(own, maps, strict=True)]
    _, means, covariances = jax.lax.associative_scan(combine, tuple(map(jnp.concatenate, ends)), reverse=reverse)
    return means, covariances


def _applied(matrix: Array, vector: Array) -> Array:
    """``A v`` of the last axes."""
    return jnp.einsum("...ij,...j->...i", matrix, vector)


def _log_diagonal(factor: Array) -> Array:
    return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(factor, axis1=-2, axis2=-1))), axis=-1)


def _squares(factor: Array, residual: Array) -> Array:
    """``‖L⁻¹ r‖²`` over the last axis; a factor for all is used once."""
    if factor.ndim == 2:
        white = solve_triangular(factor, residual.reshape(-1, residual.shape[-1]).T, lower=True).T
        return jnp.sum(white.reshape(residual.shape) ** 2, axis=-1)
    return whitened(jnp.zeros_like(residual), factor, residual)[0]


def _traces(factor: Array, covariance: Array) -> Array:
    """``tr((L Lᵀ)⁻¹ S)`` of the last axes."""
    white = solve_triangular(jnp.broadcast_to(factor, covariance.shape), covariance, lower=True)
    again = solve_triangular(jnp.broadcast_to(factor, covariance.shape), jnp.swapaxes(white, -1, -2), lower=True)
    return jnp.trace(again, axis1=-2, axis2=-1)
