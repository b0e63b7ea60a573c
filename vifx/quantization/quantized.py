"""Distributions over grids of codes: all of the probability on one, and a prior of them."""

from __future__ import annotations

__all__ = ["Codes", "CodePrior", "Quantized", "straight_through"]

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.core.types import Array, Estimate, Key
from vifx.distributions import PointMass


@jax.custom_jvp
def straight_through(encoded: Array, chosen: Array) -> Array:
    """Return what was chosen, to the bit, with the gradient of what was encoded: ``E + sg(e − E)``.

    It is not the gradient of anything: what the decoder says of e is taken for what it says of E.

    Args:
      encoded: E, ``[...]``.
      chosen: e, of the same shape, which gets no gradient.

    References:
      Bengio, Léonard & Courville (2013), arXiv:1308.3432; van den Oord, Vinyals & Kavukcuoglu (2017), arXiv:1711.00937.

    >>> import jax, jax.numpy as jnp
    >>> jax.value_and_grad(lambda e: straight_through(e, jnp.round(e)) ** 2)(1.75)
    (Array(4., dtype=float32, weak_type=True), Array(4., dtype=float32, weak_type=True))
    """
    del encoded
    return chosen


@straight_through.defjvp
def _straight_through_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


class Codes(numpyro.Distribution):
    """Integers ``0 … K − 1`` of each example, with probability one: ``p(k | x) = 1[k = k(x)]``.

    Args:
      codes: ``[rows, places]``, or ``[rows]`` of a single latent.
    """

    pytree_data_fields = ("codes",)
    expectation = "at the one code of each place"

    def __init__(self, codes: Array) -> None:
        self.codes = codes
        super().__init__(codes.shape[:1], codes.shape[1:], validate_args=False)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Return the codes, repeated: ``[*sample_shape, rows, places]``."""
        return PointMass(self.codes).sample(key, sample_shape)

    def log_prob(self, value: Array) -> Array:
        """Return 0 for these codes and −∞ for others, in nats: ``[..., rows]``."""
        return _log_one(value == jnp.broadcast_to(self.codes, value.shape), len(self.event_shape))

    def kl_estimate(self, other: Any) -> Estimate:
        """Return ``KL(self ‖ other) = −log other(k)`` in nats, exactly."""
        return Estimate(lambda _: -other.log_prob(self.codes), "the one code of each place", False)


class Quantized(numpyro.Distribution):
    """Vectors on a grid, all of the probability on one code at each place: ``p(z | x) = 1[z = e_k(x)]``.

    A draw is that code, with the gradient of the encoder's output, see `straight_through`.

    Args:
      encoded: E(x), ``[rows, *grid, features]``.
      chosen: the codes e_k(x) in its place, of the same shape.
      codes: their numbers k(x), ``[rows, places]``, or ``[rows]`` of a single latent.
      total: K, how many codes there are.
    """

    pytree_data_fields = ("encoded", "chosen", "codes")
    pytree_aux_fields = ("total",)
    expectation = "at the one code of each place, gradient straight through"

    def __init__(self, encoded: Array, chosen: Array, codes: Array, total: int) -> None:
        self.encoded, self.chosen, self.codes, self.total = encoded, chosen, codes, total
        super().__init__(encoded.shape[:1], encoded.shape[1:], validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether draws pass a gradient on: they do, straight through."""
        return True

    @property
    def mean(self) -> Array:
        """The codes themselves, with that gradient."""
        return straight_through(self.encoded, self.chosen)

    @property
    def distortion(self) -> Array:
        """``Σ ‖E(x) − e_k‖²`` over the places of each example, ``[rows]``."""
        return jnp.sum((self.encoded - self.chosen) ** 2, axis=tuple(range(1, self.encoded.ndim)))

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Return the codes, repeated: ``[*sample_shape, rows, *grid, features]``."""
        return PointMass(self.mean).sample(key, sample_shape)

    def log_prob(self, value: Array) -> Array:
        """Return 0 for these codes and −∞ for others, in nats: ``[..., rows]``."""
        return _log_one(value == jnp.broadcast_to(self.chosen, value.shape), len(self.event_shape))

    def kl_estimate(self, other: Any) -> Estimate | None:
        """Return KL(self ‖ other) in nats, exactly: ``−log other(k)`` of a prior, 0 of the codes that k stands for."""
        if isinstance(other, CodePrior):
            return Estimate(lambda _: -other.of_codes(self.codes), "the one code of each place", False)
        if isinstance(other, Quantized):
            same = self.codes == other.codes
            return Estimate(lambda _: -_log_one(same, same.ndim - 1), "the same code at each place", False)
        return None


class CodePrior(numpyro.Distribution):
    """Vectors on a grid, each of them one of K codes, uniformly: ``q(z) = K^(−places)``.

    Args:
      points: the codes, ``[K, features]``.
      grid: the shape of the grid; ``()`` for a single latent.
    """

    pytree_data_fields = ("points",)
    pytree_aux_fields = ("grid",)

    def __init__(self, points: Array, grid: tuple[int, ...]) -> None:
        self.points, self.grid = points, grid
        super().__init__((), (*grid, points.shape[1]), validate_args=False)

    def of_codes(self, codes: Array) -> Array:
        """Return the log-probability in nats of the codes with these numbers, ``[rows]``."""
        nats = -math.prod(self.grid) * math.log(self.points.shape[0])
        return jnp.full(codes.shape[:1], nats, self.points.dtype)

    def sample(self, key: Key, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw ``[*sample_shape, *grid, features]``."""
        return self.points[jax.random.randint(key, (*sample_shape, *self.grid), 0, self.points.shape[0])]

    def log_prob(self, value: Array) -> Array:
        """Return the log-probability in nats, ``[...]``; −∞ where a vector is not a code."""
        flat = value.reshape(-1, value.shape[-1])
        known = jax.lax.map(lambda one: jnp.any(jnp.all(self.points == one[None], axis=1)), flat, batch_size=1024)
        lead = value.shape[: value.ndim - len(self.event_shape)]
        inside = _log_one(known.reshape(value.shape[:-1]), len(self.grid))
        return inside + self.of_codes(jnp.zeros((1,), jnp.int32))[0] * jnp.ones(lead, self.points.dtype)


def _log_one(equal: Array, event: int) -> Array:
    """Return 0 where all of an event is true and −∞ elsewhere."""
    whole = jnp.all(equal, axis=tuple(range(equal.ndim - event, equal.ndim)))
    return jnp.where(whole, jnp.zeros((), jnp.result_type(float)), -jnp.inf)
