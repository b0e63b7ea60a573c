"""The way back from the simplex, and the log-determinant of the way there, without cancellation."""

from __future__ import annotations

__all__ = ["broken", "broken_log_det"]

import jax
import jax.numpy as jnp

from vifx.core.types import Array


def broken(shares: Array) -> Array:
    """Return the unconstrained numbers of shares, ``[..., k] -> [..., k - 1]``, as NumPyro's stick breaking has them.

    ``z_i = log x_i − log(x_{i+1} + … + x_k) + log(k − i)``. NumPyro takes what is left of the stick as 1 minus the
    shares before, of which single precision keeps no digit once it is below 1e-7; here it is the sum of the shares
    behind.
    """
    behind = jnp.flip(jnp.cumsum(jnp.flip(shares[..., 1:], -1), axis=-1), -1)
    first = shares[..., :-1]
    return jnp.log(first) - jnp.log(behind) + _offset(first)


def broken_log_det(z: Array) -> Array:
    """Return ``log|det ∂(x_1, …, x_{k−1})/∂z|`` in nats, as a function of z alone, finite however small shares are.

    ``Σ_i [log σ(u_i) + (k − i) log σ(−u_i)]`` with ``u_i = z_i − log(k − i)``.
    """
    shifted, times = z - _offset(z), jnp.arange(z.shape[-1], 0, -1).astype(z.dtype)
    return jnp.sum(jax.nn.log_sigmoid(shifted) + times * jax.nn.log_sigmoid(-shifted), axis=-1)


def _offset(z: Array) -> Array:
    return jnp.log(jnp.arange(z.shape[-1], 0, -1).astype(z.dtype))
