"""Closed-form KL divergences between conditionals, found by the types of the two families."""

from __future__ import annotations

__all__ = ["closed_form"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from numpyro.distributions import ExpandedDistribution, Independent, Normal
from numpyro.distributions.kl import kl_divergence

from vifx.distributions import MarkovChain
from vifx.types import Array


def closed_form(inference: Any, generative: Any) -> Callable[[], Array] | None:
    """Return a function that computes KL(inference ‖ generative) exactly, or None if there is none.

    * independent events add up;
    * two normals: ``½ [ (σ/τ)² + ((μ − ν)/τ)² − 1 − log (σ/τ)² ]``;
    * two members of one family of finite support are summed over its states;
    * two Markov chains by the marginals of the first;
    * otherwise NumPyro's registry of pairs decides (MultivariateNormal, Beta, Gamma,
      Dirichlet, Kumaraswamy–Beta, Weibull–Gamma, ...).

    Args:
      inference: the distribution that the expectation is under, batch ``[rows]``.
      generative: the other one, batch ``[rows]`` or none.

    Returns:
      A function without arguments whose result is in nats, shape ``[rows]`` (or broadcastable).
    """
    if isinstance(inference, Independent) and isinstance(generative, Independent):
        dims = inference.reinterpreted_batch_ndims
        if dims != generative.reinterpreted_batch_ndims:
            return None
        inner = closed_form(inference.base_dist, generative.base_dist)
        shape = jax.lax.broadcast_shapes(inference.base_dist.batch_shape, generative.base_dist.batch_shape)
        if inner is None:
            return None
        return lambda: jnp.sum(jnp.broadcast_to(inner(), shape), axis=tuple(range(-dims, 0)))
    if isinstance(inference, ExpandedDistribution):
        return _broadcast(inference, closed_form(inference.base_dist, generative))
    if isinstance(generative, ExpandedDistribution):
        return _broadcast(generative, closed_form(inference, generative.base_dist))
    if isinstance(inference, Normal) and isinstance(generative, Normal):
        return lambda: _normal(inference, generative)
    if isinstance(inference, MarkovChain) and isinstance(generative, MarkovChain):
        return lambda: inference.kl(generative)
    if _same_finite_family(inference, generative):
        return lambda: _summed(inference, generative)
    registry: Any = kl_divergence  # a multiple-dispatch table, which its type does not tell
    if registry.dispatch(type(inference), type(generative)) is None:
        return None
    return lambda: kl_divergence(inference, generative)


def _broadcast(expanded: ExpandedDistribution, inner: Callable[[], Array] | None) -> Callable[[], Array] | None:
    if inner is None:
        return None

    def divergence() -> Array:
        value = inner()
        return jnp.broadcast_to(value, jax.lax.broadcast_shapes(value.shape, expanded.batch_shape))

    return divergence


def _normal(inference: Normal, generative: Normal) -> Array:
    parameters = (inference.loc, inference.scale, generative.loc, generative.scale)
    loc, scale, prior_loc, prior_scale = jnp.broadcast_arrays(*map(jnp.asarray, parameters))
    ratio = scale / prior_scale
    return 0.5 * (ratio**2 + ((loc - prior_loc) / prior_scale) ** 2 - 1) - jnp.log(ratio)


def _same_finite_family(inference: Any, generative: Any) -> bool:
    def states(distribution: Any) -> int | None:
        if not getattr(distribution, "has_enumerate_support", False) or tuple(distribution.event_shape) != ():
            return None
        return distribution.enumerate_support(expand=False).shape[0]

    return (
        type(inference) is type(generative)
        and states(inference) is not None
        and (states(inference) == states(generative))
    )


def _summed(inference: Any, generative: Any) -> Array:
    """``Σ_v p(v) (log p(v) − log q(v))`` with 0 log 0 = 0, summed over the leading axis of states."""
    shape = jax.lax.broadcast_shapes(inference.batch_shape, generative.batch_shape)
    support = inference.enumerate_support(expand=False)
    states = jnp.broadcast_to(support.reshape(-1, *(1,) * len(shape)), (support.shape[0], *shape))
    log_p = inference.log_prob(states)
    log_q = generative.log_prob(states)
    possible = log_p > -jnp.inf
    # Both branches of a where are differentiated, so the impossible states are replaced first.
    log_p = jnp.where(possible, log_p, 0)
    return jnp.sum(jnp.where(possible, jnp.exp(log_p) * (log_p - log_q), 0), axis=0)
