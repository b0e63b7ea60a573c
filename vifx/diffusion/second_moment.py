"""A gradient of the second moment in the place of the mean's, for what the mean does not depend on."""

from __future__ import annotations

__all__ = ["attached", "measured"]

import jax
import jax.numpy as jnp

from vifx.core.types import Array

Route = tuple[Array, Array, Array]


@jax.custom_vjp
def attached(gamma: Array, rate: Array) -> Route:
    """Return γ and the rate, ``[rows]`` each, and a token, with which `measured` says how their gradients are scaled.

    In continuous time the schedule between its ends changes the variance of the estimate and not its mean L. What
    passes back from ``w = measured(h(γ, rate), token)`` to γ and the rate is ``∇ w²/mean(w)`` in the place of ``∇ w``,
    by ``∇ w² = 2 w ∇ w`` and so in the one backward pass; other gradients of w are as they are.

    Reference: Kingma et al. (2021), Variational diffusion models, arXiv:2107.00630, appendix I.
    """
    return gamma, rate, jnp.zeros_like(gamma)


def _attach(gamma: Array, rate: Array) -> tuple[Route, None]:
    return attached(gamma, rate), None


def _detach(_: None, cotangents: Route) -> tuple[Array, Array]:
    gamma, rate, scale = cotangents
    return gamma * scale, rate * scale


attached.defvjp(_attach, _detach)


@jax.custom_vjp
def measured(each: Array, token: Array) -> Array:
    """Return the draws w, ``[rows]``, and pass their size back to where `attached` made the token."""
    del token
    return each


def _measure(each: Array, token: Array) -> tuple[Array, Array]:
    return measured(each, token), each


def _pass_back(each: Array, cotangent: Array) -> tuple[Array, Array]:
    return cotangent, 2 * each / jnp.mean(each)


measured.defvjp(_measure, _pass_back)
