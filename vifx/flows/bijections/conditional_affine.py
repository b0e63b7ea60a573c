"""Location and scale as functions of what a flow is conditioned on."""

from __future__ import annotations

__all__ = ["conditional_affine"]

from typing import Any

import jax.numpy as jnp

from vifx.core.nets import as_net
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import required_parents, summed
from vifx.flows.checked import checked


def conditional_affine(body: Any) -> Bijection:
    """Standardize by a location and a scale that depend on `given`: ``z = (x − μ(given)) / σ(given)``.

    ``log|det ∂z/∂x| = −Σ log σ(given)`` in nats. As the last map of a posterior ``z | x`` it is the reparameterization
    ``F_x(u) = σ(x) ⊙ u + μ(x)`` of a diagonal Gaussian, with which equation (4) is equation (2); before it in the
    chain, a bijection ``F⁻¹`` makes ``F_x(u) = F(σ(x) ⊙ u + μ(x))``.

    Args:
      body: a `Net`, Linen or NNX module of `given`, whose features ``[examples, width]`` two affine heads read; they
        start at ``μ = 0`` and ``σ = 1``.

    Raises:
      ValueError: it is used without `given`, or the features are not one vector per example.
      TypeError: `body` is not a network.

    References: Kingma & Welling (2014), arXiv:1312.6114; Su & Wu (2018), f-VAEs, arXiv:1809.05861.
    """
    net = as_net(body)

    def features(params: PyTree, state: PyTree, given: Any) -> Array:
        output, _ = net.apply(params, state, *required_parents(given, "conditional_affine"))
        if output.ndim != 2:
            raise ValueError(
                f"conditional_affine: body must return features [examples, width], got {list(output.shape)}; end it "
                "with a layer that flattens."
            )
        return output

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        body_params, body_state = net.init(key, *required_parents(given, "conditional_affine"))
        width = features(body_params, body_state, given).shape[1]
        head = {"kernel": jnp.zeros((width, 2 * x[0].size), x.dtype), "bias": jnp.zeros(2 * x[0].size, x.dtype)}
        return {"body": body_params, "head": head}, {"body": body_state}

    def location_and_log_scale(params: PyTree, state: PyTree, x: Array, given: Any) -> tuple[Array, Array]:
        hidden = features(params["body"], state["body"], given)
        both = hidden @ params["head"]["kernel"] + params["head"]["bias"][None]
        location, log_scale = jnp.split(both, 2, axis=1)
        return location.reshape(x.shape), log_scale.reshape(x.shape)

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        location, log_scale = location_and_log_scale(params, state, x, given)
        return (x - location) * jnp.exp(-log_scale), -summed(log_scale)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        location, log_scale = location_and_log_scale(params, state, z, given)
        return location + jnp.exp(log_scale) * z, summed(log_scale)

    return checked("conditional_affine", init, forward, inverse, scalars=True)
