"""Estimates of the KL divergence between two conditionals: their own, and closed forms found by their families."""

from __future__ import annotations

__all__ = ["closed_form", "estimate"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpyro.distributions import ExpandedDistribution, Independent

from vifx.core.types import Array, Estimate
from vifx.distributions.kl_formulas import formula


def estimate(inference: Any, generative: Any) -> Estimate | None:
    """Return how KL(inference ‖ generative) is estimated other than from samples of `inference`, or None.

    What the first conditional offers itself comes first, ``inference.kl_estimate(generative)``; then closed forms.

    Args:
      inference: the distribution that the expectation is under, batch ``[rows]``.
      generative: the other one, batch ``[rows]`` or none.
    """
    own = inference.kl_estimate(generative) if hasattr(inference, "kl_estimate") else None
    if own is not None:
        return own
    exactly = closed_form(inference, generative)
    return None if exactly is None else Estimate(lambda _: exactly(), "closed form", False)


def closed_form(inference: Any, generative: Any) -> Callable[[], Array] | None:
    """Return a function that computes KL(inference ‖ generative) exactly, or None if there is none.

    * independent events add up;
    * pairs of families with a known `formula`;
    * two members of one family with the same finite support are summed over its states.

    Every other pair has none.

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
        if inner is None:
            return None
        shape = jax.lax.broadcast_shapes(inference.base_dist.batch_shape, generative.base_dist.batch_shape)
        return lambda: jnp.sum(jnp.broadcast_to(inner(), shape), axis=tuple(range(-dims, 0)))
    if isinstance(inference, ExpandedDistribution):
        return _broadcast(inference, closed_form(inference.base_dist, generative))
    if isinstance(generative, ExpandedDistribution):
        return _broadcast(generative, closed_form(inference, generative.base_dist))
    if _same_finite_family(inference, generative):
        return lambda: _summed(inference, generative)
    return formula(inference, generative)


def _broadcast(expanded: ExpandedDistribution, inner: Callable[[], Array] | None) -> Callable[[], Array] | None:
    if inner is None:
        return None

    def divergence() -> Array:
        value = inner()
        return jnp.broadcast_to(value, jax.lax.broadcast_shapes(value.shape, expanded.batch_shape))

    return divergence


def _same_finite_family(inference: Any, generative: Any) -> bool:
    if type(inference) is not type(generative):
        return False
    first, second = _support(inference), _support(generative)
    return first is not None and second is not None and np.array_equal(first, second)


def _support(distribution: Any) -> np.ndarray | None:
    """Return the states of a scalar variable of finite support, None if there is no fixed set of them."""
    if not getattr(distribution, "has_enumerate_support", False) or tuple(distribution.event_shape) != ():
        return None
    with jax.ensure_compile_time_eval():  # a support is static, also inside a transformation
        support = distribution.enumerate_support(expand=False)
    return None if isinstance(support, Tracer) else np.asarray(support).reshape(-1)


def _summed(inference: Any, generative: Any) -> Array:
    """``Σ_v p(v) (log p(v) − log q(v))`` with 0 log 0 = 0, summed over the leading axis of states."""
    shape = jax.lax.broadcast_shapes(inference.batch_shape, generative.batch_shape)
    support = inference.enumerate_support(expand=False)
    states = jnp.broadcast_to(support.reshape(-1, *(1,) * len(shape)), (support.shape[0], *shape))
    log_p = inference.log_prob(states)
    log_q = generative.log_prob(states)
    possible, excluded = log_p > -jnp.inf, log_q == -jnp.inf
    # Both branches of a where are differentiated, so what is infinite is replaced first.
    log_p, log_q = jnp.where(possible, log_p, 0), jnp.where(excluded, 0, log_q)
    each = jnp.where(excluded, jnp.inf, jnp.exp(log_p) * (log_p - log_q))
    return jnp.sum(jnp.where(possible, each, 0), axis=0)
