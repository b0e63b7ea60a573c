"""Linear-Gaussian chains: the prior and the posterior of a linear dynamical system."""

from __future__ import annotations

__all__ = ["GaussianChain", "Moments"]

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_integer
from vifx.core.types import Array, Estimate, Key
from vifx.distributions.each_step import EachStep
from vifx.distributions.linear_evidence import probed
from vifx.distributions.linear_recursion import scales_over_time, times, values_over_time
from vifx.distributions.supports import inside_of
from vifx.distributions.triangular import triangular_inverse


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

    def steps(self, examples: int) -> tuple[Array, Array, Array]:
        """Return A, b and L of every step and each of some examples, ``[T−1, examples, …]``."""
        events = {"transition": 2, "offset": 1, "scale_tril": 2}
        lead = (self.length - 1, examples)

        def spread(name: str, event: int) -> Array:
            each = self._over_time(name, 1)
            return jnp.broadcast_to(each, (*lead, *each.shape[each.ndim - event :]))

        transition, offset, scale = (spread(name, event) for name, event in events.items())
        return transition, offset, scale

    def _over_time(self, name: str, axes: int) -> Array:
        """Return parameters with time in front, ``[T−1, …, *event]`` with `axes` axes in place of the dots.

        These end in the batch; what is shared has 1 there, and so have the axes before it.
        """
        each, event = getattr(self, name), 1 if name == "offset" else 2
        lead = each.shape[: each.ndim - event]
        if len(lead) > 1:
            each = jnp.moveaxis(each, len(lead) - 1, 0)
        elif not lead:
            each = jnp.broadcast_to(each, (self.length - 1, *each.shape))
        return each.reshape(self.length - 1, *(1,) * (axes - max(len(lead) - 1, 0)), *each.shape[1:])

    def _initial(self, axes: int) -> tuple[Array, Array]:
        """Return the mean and the square root of the initial step, with `axes` axes before those of the event."""
        loc, scale = self.initial_loc, self.initial_scale_tril
        loc = loc.reshape(*(1,) * (axes - loc.ndim + 1), *loc.shape)
        return loc, scale.reshape(*(1,) * (axes - scale.ndim + 2), *scale.shape)

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
        axes = len(shape) - 2
        first, before, after = self._split(jnp.moveaxis(value, -2, 0))
        loc, scale = self._initial(axes)
        moved = times(self._over_time("transition", axes), before) + self._over_time("offset", axes)
        start = jnp.sum(times(triangular_inverse(scale), first - loc) ** 2, axis=-1)
        later = times(triangular_inverse(self._over_time("scale_tril", axes)), after - moved)
        square = start + jnp.sum(later**2, axis=(0, -1))
        constant = 0.5 * self.length * self.size * math.log(2 * math.pi)
        log_det = jnp.broadcast_to(self._log_det(axes), square.shape)
        return jnp.where(within, -0.5 * square - log_det - constant, -jnp.inf)

    def _log_det(self, axes: int) -> Array:
        """Return the log-determinant of the square root of the covariance of a whole sequence, in nats."""
        return _log_det(self._initial(axes)[1]) + jnp.sum(_log_det(self._over_time("scale_tril", axes)), axis=0)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw sequences ``[*sample_shape, *batch, T, D]``, reparameterized."""
        axes = len(sample_shape) + len(self.batch_shape)
        noise = jax.random.normal(key, (*sample_shape, *self.batch_shape, *self.event_shape), self.initial_loc.dtype)
        start, _, rest = self._split(jnp.moveaxis(noise, -2, 0))
        loc, scale = self._initial(axes)
        steps = self._over_time("offset", axes) + times(self._over_time("scale_tril", axes), rest)
        return jnp.moveaxis(self._walked(loc + times(scale, start), steps, axes), 0, -2)

    def _walked(self, first: Array, steps: Array, axes: int) -> Array:
        transition, ways = self._over_time("transition", axes), {"reverse": self.reverse, "parallel": self.parallel}
        return self._sequence(first, values_over_time(first, transition, steps, **ways))

    def _timed_means(self) -> Array:
        """Return the means with time in front, ``[T, *batch, D]``."""
        axes = len(self.batch_shape)
        return self._walked(self.initial_loc, self._over_time("offset", axes), axes)

    def _timed_scales(self) -> Array:
        """Return square roots of the covariances with time in front, ``[T, *batch, D, D]``, 1 in place of a batch."""
        axes = len(self.batch_shape)
        transition, scale = self._over_time("transition", axes), self._over_time("scale_tril", axes)
        first = self._initial(axes)[1]
        batch = jnp.broadcast_shapes(first.shape[:-2], transition.shape[1:-2], scale.shape[1:-2])
        square = (self.size, self.size)
        first = jnp.broadcast_to(first, (*batch, *square))
        scale = jnp.broadcast_to(scale, (self.length - 1, *batch, *square))
        ways = {"reverse": self.reverse, "parallel": self.parallel}
        return self._sequence(first, scales_over_time(first, transition, scale, **ways))

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
        covariances = scale @ jnp.swapaxes(scale, -1, -2)
        _, left, _ = self._split(covariances)
        transition = self._over_time("transition", len(self.batch_shape))
        cross = left @ jnp.swapaxes(transition, -1, -2) if self.reverse else transition @ left
        return Moments(self.means, self._with_batch(covariances), self._with_batch(cross))

    def entropy(self) -> Array:
        """``H(z_1) + Σ_t H(z_{t+1} | z_t)`` in nats, ``[*batch]``."""
        constant = 0.5 * self.length * self.size * (1 + math.log(2 * math.pi))
        return jnp.broadcast_to(self._log_det(len(self.batch_shape)), self.batch_shape) + constant

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
        evidence, moments = probed(conditional, value), self.moments()
        residual = evidence.values - times(evidence.matrix, moments.means)
        spread = jnp.sum((evidence.matrix @ moments.covariances) * evidence.matrix, axis=(-2, -1))
        return jnp.sum(evidence.constants - 0.5 * (jnp.sum(residual**2, axis=-1) + spread), axis=-1)

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
        means = self._timed_means().reshape(self.length, *self._ones(axes), *self.batch_shape, self.size)
        scales = self._timed_scales()
        scales = scales.reshape(self.length, *self._ones(axes), *scales.shape[1:])
        _, left, _ = self._split(scales)
        first_mean, before, after = other._split(means)
        first_scale, _, _ = other._split(scales)
        loc, scale = other._initial(axes)
        transition, back = other._over_time("transition", axes), self._over_time("transition", axes)
        noise = self._over_time("scale_tril", axes)
        if self.reverse == other.reverse:
            spread = [(back - transition) @ left, noise]
        else:
            identity = jnp.eye(self.size, dtype=back.dtype).reshape(*(1,) * (axes + 1), self.size, self.size)
            spread = [(identity - transition @ back) @ left, transition @ noise]
        shift = after - times(transition, before) - other._over_time("offset", axes)
        later = _squares(other._over_time("scale_tril", axes), shift, *spread)
        start = _squares(scale, first_mean - loc, first_scale)
        later_det = _log_det(other._over_time("scale_tril", axes)) - _log_det(noise)
        start_det = _log_det(scale) - _log_det(self._initial(axes)[1])
        start = 0.5 * (start - self.size) + start_det
        return start + jnp.sum(0.5 * (later - self.size) + later_det, axis=0)

    def _ones(self, axes: int) -> tuple[int, ...]:
        return (1,) * (axes - len(self.batch_shape))


def _log_det(scale_tril: Array) -> Array:
    return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale_tril, axis1=-2, axis2=-1))), axis=-1)


def _squares(scale_tril: Array, shift: Array, *spread: Array) -> Array:
    """Return ``E ‖L⁻¹(s + Σ_i V_i ε_i)‖²``, a sum of squares."""
    inverse = triangular_inverse(scale_tril)
    total = jnp.sum(times(inverse, shift) ** 2, axis=-1)
    for each in spread:
        total = total + jnp.sum((inverse @ each) ** 2, axis=(-2, -1))
    return total
