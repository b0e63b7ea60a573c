"""Linear-Gaussian chains: the prior and the posterior of a linear dynamical system."""

from __future__ import annotations

__all__ = ["Factors", "GaussianChain", "Moments"]

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_integer
from vifx.core.types import Array, Estimate, Key
from vifx.distributions.each_step import EachStep
from vifx.distributions.linear_evidence import probed
from vifx.distributions.linear_recursion import scales_over_time, values_over_time
from vifx.distributions.small_matrices import product, squared_norm, times, transposed, triangular_inverse
from vifx.distributions.supports import inside_of


class Factors(NamedTuple):
    """The parameters of a chain with time in front, see `GaussianChain.over_time`.

    Attributes:
      initial_loc: ``[…, D]``.
      initial_scale_tril: ``[…, D, D]``.
      transition: ``[T−1, …, D, D]``.
      offset: ``[T−1, …, D]``.
      scale_tril: ``[T−1, …, D, D]``.
    """

    initial_loc: Array
    initial_scale_tril: Array
    transition: Array
    offset: Array
    scale_tril: Array

    @property
    def log_det(self) -> Array:
        """The log-determinant of the square root of the covariance of a whole sequence, ``[…]`` in nats."""
        return _log_det(self.initial_scale_tril) + jnp.sum(_log_det(self.scale_tril), axis=0)


class Moments(NamedTuple):
    """The moments of a Gaussian chain.

    Attributes:
      means: ``E z_t``, ``[*batch, T, D]``.
      covariances: ``Cov(z_t)``, ``[*batch, T, D, D]``.
      cross_covariances: ``Cov(z_{t+1}, z_t)``, ``[*batch, T−1, D, D]``.
    """

    means: Array
    covariances: Array
    cross_covariances: Array


class GaussianChain(numpyro.Distribution):
    """A chain ``z_1 … z_T`` of vectors: ``z_1 ~ N(m, L Lᵀ)``, ``z_{t+1} = A_t z_t + b_t + L_t ε``.

    One event is a whole sequence ``[length, D]``. With ``reverse=True`` the same is said from the end: the initial
    parameters are those of ``z_T``, and ``z_t = A_t z_{t+1} + b_t + L_t ε``, where index t of the arrays is the earlier
    of the two times; a smoother's posterior comes in this form. Covariances are kept as square roots and never
    subtracted, so that they stay positive in any precision. Parameters that all sequences, or all times, share may be
    given once; every method costs ``O(T D³)``.

    Args:
      initial_loc: m, the mean of the first step (of the last one in reverse), ``[*batch, D]``.
      initial_scale_tril: L, lower triangular, ``[*batch, D, D]`` or ``[D, D]``.
      transition: the matrices A, ``[*batch, T−1, D, D]``, ``[T−1, D, D]``, or ``[D, D]`` for all times and sequences.
      offset: b, ``[*batch, T−1, D]``, ``[T−1, D]`` or ``[D]``.
      scale_tril: L_t, lower triangular, of a shape that `transition` may have.
      length: T.
      reverse: whether the factors run from the last step to the first.
      parallel: whether time is divided by an associative scan, of depth ``log T``, or taken step by step. Equal results
        up to rounding.

    Raises:
      ValueError: if the shapes do not fit each other or `length`.

    >>> import jax.numpy as jnp
    >>> walk = GaussianChain(jnp.zeros((5, 2)), jnp.eye(2), jnp.eye(2), jnp.zeros(2), 0.1 * jnp.eye(2), 10)
    >>> walk.batch_shape, walk.event_shape
    ((5,), (10, 2))
    """

    arg_constraints = {  # noqa: RUF012
        "initial_loc": numpyro.constraints.real_vector,
        "initial_scale_tril": numpyro.constraints.lower_cholesky,
        "transition": numpyro.constraints.real_matrix,
        "offset": numpyro.constraints.real_vector,
        "scale_tril": numpyro.constraints.lower_cholesky,
    }
    reparametrized_params = ["initial_loc", "initial_scale_tril", "transition", "offset", "scale_tril"]  # noqa: RUF012
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
        batch, size = self.initial_loc.shape[:-1], self.initial_loc.shape[-1:]
        if not size:
            raise ValueError("initial_loc must have an axis of the state, [*batch, D], got a scalar; give loc[None]")
        square, times = (*size, *size), (length - 1,)
        self._require("initial_scale_tril", square, (*batch, *square))
        for name, event in (("transition", square), ("offset", size), ("scale_tril", square)):
            self._require(name, event, (*times, *event), (*batch, *times, *event))
        super().__init__(batch, (length, *size), validate_args=False)

    def _require(self, name: str, *shapes: tuple[int, ...]) -> None:
        shape = getattr(self, name).shape
        if shape not in shapes:
            allowed = " or ".join(str(list(each)) for each in dict.fromkeys(shapes))
            raise ValueError(
                f"{name} of shape {list(shape)} must be {allowed} for initial_loc of shape "
                f"{list(self.initial_loc.shape)} and length {self.length}"
            )

    @property
    def support(self) -> numpyro.constraints.Constraint:
        """Sequences of real vectors."""
        return numpyro.constraints.real_matrix

    @property
    def size(self) -> int:
        """The size D of the state."""
        return self.initial_loc.shape[-1]

    def over_time(self, axes: int) -> Factors:
        """Return the parameters with time in front and `axes` axes before those of the event.

        These axes end in the batch; what is shared has 1 there, and so have the axes before it.
        """

        def each(name: str, event: int) -> Array:
            found = getattr(self, name)
            lead = found.shape[: found.ndim - event]
            if len(lead) > 1:
                found = jnp.moveaxis(found, len(lead) - 1, 0)
            elif not lead:
                found = jnp.broadcast_to(found, (self.length - 1, *found.shape))
            ones = axes - max(len(lead) - 1, 0)
            return found.reshape(self.length - 1, *(1,) * ones, *found.shape[1:])

        loc, scale = self.initial_loc, self.initial_scale_tril
        return Factors(
            loc.reshape(*(1,) * (axes - loc.ndim + 1), *loc.shape),
            scale.reshape(*(1,) * (axes - scale.ndim + 2), *scale.shape),
            each("transition", 2),
            each("offset", 1),
            each("scale_tril", 2),
        )

    def _sequence(self, first: Array, later: Array) -> Array:
        """Put the initial step and the others ``[T−1, …]`` in the order of time."""
        return jnp.concatenate([later, first[None]] if self.reverse else [first[None], later])

    def _split(self, value: Array) -> tuple[Array, Array, Array]:
        """Return the initial step of sequences ``[T, …]``, and the steps that each transition leaves and enters."""
        return (value[-1], value[1:], value[:-1]) if self.reverse else (value[0], value[:-1], value[1:])

    def log_prob(self, value: Array) -> Array:
        """Return the log-density in nats of sequences ``[..., T, D]``: ``[...]``; −∞ if an element is not finite."""
        shape = jnp.broadcast_shapes(value.shape, (*self.batch_shape, *self.event_shape))
        within, value = inside_of(self.support, jnp.broadcast_to(value, shape), event=2)
        own = self.over_time(len(shape) - 2)
        first, before, after = self._split(jnp.moveaxis(value, -2, 0))
        moved = times(own.transition, before) + own.offset
        start = squared_norm(times(triangular_inverse(own.initial_scale_tril), first - own.initial_loc))
        later = squared_norm(times(triangular_inverse(own.scale_tril), after - moved))
        log_det = jnp.broadcast_to(own.log_det, start.shape)
        constant = 0.5 * self.length * self.size * math.log(2 * math.pi)
        return jnp.where(within, -0.5 * (start + jnp.sum(later, axis=0)) - log_det - constant, -jnp.inf)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw sequences ``[*sample_shape, *batch, T, D]``, reparameterized."""
        own = self.over_time(len(sample_shape) + len(self.batch_shape))
        noise = jax.random.normal(key, (*sample_shape, *self.batch_shape, *self.event_shape), self.initial_loc.dtype)
        start, _, rest = self._split(jnp.moveaxis(noise, -2, 0))
        first = own.initial_loc + times(own.initial_scale_tril, start)
        return jnp.moveaxis(self._walked(own, first, own.offset + times(own.scale_tril, rest)), 0, -2)

    def _walked(self, own: Factors, first: Array, steps: Array) -> Array:
        ways = {"reverse": self.reverse, "parallel": self.parallel}
        return self._sequence(first, values_over_time(first, own.transition, steps, **ways))

    def _timed_means(self) -> Array:
        """Return the means with time in front, ``[T, *batch, D]``."""
        own = self.over_time(len(self.batch_shape))
        return self._walked(own, own.initial_loc, own.offset)

    def _timed_scales(self) -> Array:
        """Return square roots of the covariances with time in front, ``[T, *batch, D, D]``, 1 in place of a batch."""
        own = self.over_time(len(self.batch_shape))
        first, ways = own.initial_scale_tril, {"reverse": self.reverse, "parallel": self.parallel}
        shape = jnp.broadcast_shapes(first.shape, own.transition.shape[1:], own.scale_tril.shape[1:])
        first, scale = jnp.broadcast_to(first, shape), jnp.broadcast_to(own.scale_tril, (self.length - 1, *shape))
        return self._sequence(first, scales_over_time(first, own.transition, scale, **ways))

    def _with_batch(self, each: Array) -> Array:
        """Put time behind the batch, and give every sequence what is shared: ``[*batch, T, …, D, D]``."""
        axes = len(self.batch_shape)
        each = jnp.moveaxis(each, 0, axes)
        return jnp.broadcast_to(each, (*self.batch_shape, *each.shape[axes:]))

    @property
    def means(self) -> Array:
        """``E z_t``, ``[*batch, T, D]``."""
        return jnp.moveaxis(self._timed_means(), 0, -2)

    @property
    def scale_trils(self) -> Array:
        """The Cholesky factors of the covariances of the steps, ``[*batch, T, D, D]``."""
        return self._with_batch(self._timed_scales())

    @property
    def covariances(self) -> Array:
        """``Cov(z_t)``, ``[*batch, T, D, D]``."""
        return self.moments().covariances

    @property
    def cross_covariances(self) -> Array:
        """``Cov(z_{t+1}, z_t)``, ``[*batch, T−1, D, D]``, the later step first."""
        return self.moments().cross_covariances

    def moments(self) -> Moments:
        """Return the means, covariances and cross-covariances by one pass along the chain."""
        scale = self._timed_scales()
        covariances = product(scale, transposed(scale))
        _, left, _ = self._split(covariances)
        transition = self.over_time(len(self.batch_shape)).transition
        cross = product(left, transposed(transition)) if self.reverse else product(transition, left)
        return Moments(self.means, self._with_batch(covariances), self._with_batch(cross))

    def entropy(self) -> Array:
        """``H(z_1) + Σ_t H(z_{t+1} | z_t)`` in nats, ``[*batch]``."""
        constant = 0.5 * self.length * self.size * (1 + math.log(2 * math.pi))
        return jnp.broadcast_to(self.over_time(len(self.batch_shape)).log_det, self.batch_shape) + constant

    expectation = "exact, by the Kalman smoother"
    """How an expectation under a chain is taken, see `vifx.core.types.Structured`."""

    def probes(self) -> Array:
        """Return 0 and the unit vectors, each the same at every step, ``[D+1, T, D]``: they determine an affine map."""
        points = jnp.concatenate([jnp.zeros((1, self.size)), jnp.eye(self.size)]).astype(self.initial_loc.dtype)
        return jnp.broadcast_to(points[:, None], (self.size + 1, self.length, self.size))

    def expected_log_prob(self, conditional: EachStep, value: Array) -> Array:
        """Return ``E Σ_t log N(x_t; C_t z_t + d_t, R_t)`` in nats, ``[rows]``, from the marginals of the steps.

        A step counts ``log N(x; C m + d, R) − ½ tr(R⁻¹ C P Cᵀ)`` with the mean m and the covariance P of z_t.

        Args:
          conditional: the emissions at the `probes`, ``[(D+1) × rows]`` members, probe by probe.
          value: x, ``[rows, T, *event]``.

        Raises:
          ValueError: if they are not emissions of one step each, `EachStep` of `AffineNormal`.
        """
        evidence, means = probed(conditional, value), jnp.broadcast_to(self.means, (len(value), *self.event_shape))
        square = squared_norm(evidence.values - times(evidence.matrix, means))
        spread = squared_norm(product(evidence.matrix, self.scale_trils), axes=2)
        return jnp.sum(evidence.constants - 0.5 * (square + jnp.broadcast_to(spread, square.shape)), axis=-1)

    def kl_estimate(self, other: object) -> Estimate | None:
        """Return an exact estimate of KL(self ‖ other) in nats if the other one is such a chain, else None."""
        return Estimate(lambda _: self.kl(other), "closed form", False) if isinstance(other, GaussianChain) else None

    def kl(self, other: GaussianChain) -> Array:
        """Return ``KL(self ‖ other)`` in nats, ``[*batch]``, in closed form; either chain may run in either direction.

        It is ``Σ_t E_p [log p(z_{t+1}|z_t) − log q(z_{t+1}|z_t)]``, from the moments of pairs of steps under p.

        Args:
          other: a chain over as many steps of the same size, its batch that of this one or none.

        Raises:
          ValueError: if it has another event.
        """
        if self.event_shape != other.event_shape:
            raise ValueError(
                f"a chain of events {list(self.event_shape)} is compared with one of events {list(other.event_shape)}, "
                "[length, D]; make the two agree"
            )
        axes = max(len(self.batch_shape), len(other.batch_shape))
        own, theirs = self.over_time(axes), other.over_time(axes)
        ones = (1,) * (axes - len(self.batch_shape))
        means, scales = (
            x.reshape(self.length, *ones, *x.shape[1:]) for x in (self._timed_means(), self._timed_scales())
        )
        first_mean, before, after = other._split(means)
        left, first_scale = self._split(scales)[1], other._split(scales)[0]
        if self.reverse == other.reverse:
            spread = [product(own.transition - theirs.transition, left), own.scale_tril]
        else:
            identity = jnp.eye(self.size, dtype=means.dtype).reshape(*(1,) * (axes + 1), self.size, self.size)
            back = identity - product(theirs.transition, own.transition)
            spread = [product(back, left), product(theirs.transition, own.scale_tril)]
        shift = after - times(theirs.transition, before) - theirs.offset
        later = _squares(theirs.scale_tril, shift, *spread)
        start = _squares(theirs.initial_scale_tril, first_mean - theirs.initial_loc, first_scale)
        later = 0.5 * (later - self.size) + (_log_det(theirs.scale_tril) - _log_det(own.scale_tril))
        apart = _log_det(theirs.initial_scale_tril) - _log_det(own.initial_scale_tril)
        return 0.5 * (start - self.size) + apart + jnp.sum(later, axis=0)


def _log_det(scale_tril: Array) -> Array:
    return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale_tril, axis1=-2, axis2=-1))), axis=-1)


def _squares(scale_tril: Array, shift: Array, *spread: Array) -> Array:
    """Return ``E ‖L⁻¹(s + Σ_i V_i ε_i)‖²``, a sum of squares."""
    inverse = triangular_inverse(scale_tril)
    total = squared_norm(times(inverse, shift))
    for each in spread:
        total = total + squared_norm(product(inverse, each), axes=2)
    return total
