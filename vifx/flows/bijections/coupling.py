"""Coupling layers: part of the event stays, and a network of it decides how the rest is mapped."""

from __future__ import annotations

__all__ = ["coupling"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require
from vifx.core.nets import as_net
from vifx.core.types import Array, Bijection, Key, Net, PyTree
from vifx.flows.bijections.condition import parents, summed
from vifx.flows.bijections.default_networks import zero_linear
from vifx.flows.bijections.elementwise import Elementwise
from vifx.flows.bijections.masks import Mask
from vifx.flows.checked import checked


def coupling(body: Any, elementwise: Elementwise, *, mask: Mask, head: Callable[[int], Any] | None = None) -> Bijection:
    """Map part of the event by numbers that a network makes of the rest: ``z₁ = x₁``, ``z₂ = e(x₂; θ(x₁, given))``.

    The Jacobian is triangular, ``log|det ∂z/∂x| = Σ log|∂e/∂x₂|`` in nats over the changed elements, and the inverse
    costs what the forward map does. The network is ``θ = head(body(x₁, *given))``. The head starts at zero, so
    that the coupling starts as the identity; it is added here, so that a body need not know how many numbers are
    wanted.

    Args:
      body: a `Net`, Linen or NNX module ``(x₁, *given) -> features``, without state that training changes. Features are
        ``[examples, *axes, width]`` for an unchanged part ``[examples, *axes, size]``: ``[examples, width]``
        for vectors, ``[examples, height, width, features]`` for images.
      elementwise: `additive`, `affine`, `rational_quadratic`, or one of your own.
      mask: which elements stay: `halves`, `channels`, `checkerboard` or `mask`.
      head: ``outputs -> network`` of the features with as many outputs on the last axis; None for a linear
        map over the last axis (on images a 1×1 convolution) in the data's dtype that starts at zero.

    Raises:
      ValueError: the event cannot be divided by the mask, or the features or the head's output have the wrong shape.
      TypeError: an argument of the wrong type, or a body whose features are not of the data's dtype.

    References: Dinh, Krueger & Bengio (2015), arXiv:1410.8516; Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803.

    >>> import jax, jax.numpy as jnp
    >>> from vifx import flows, networks
    >>> layer = flows.coupling(networks.MLP((16,)), flows.affine(), mask=flows.halves())
    >>> params, state = layer.init(jax.random.key(0), jnp.ones((2, 4)))
    >>> z, log_det = layer.forward(params, state, jnp.ones((2, 4)))
    >>> print(z[0], log_det)
    [1. 1. 1. 1.] [0. 0.]
    """
    net = as_net(body)
    require(elementwise, Elementwise, "coupling: elementwise", "an Elementwise", "such as flows.affine()")
    require(mask, Mask, "coupling: mask", "a Mask", "such as flows.halves()")
    if head is not None and not callable(head):
        raise TypeError(f"coupling: head must be a function of the number of outputs, got {type(head).__name__}.")

    def head_of(changed: Array) -> Net:
        outputs = elementwise.size * changed.shape[-1]
        return zero_linear(outputs) if head is None else as_net(head(outputs))

    def features_of(params: PyTree, state: PyTree, unchanged: Array, given: Any) -> Array:
        features, _ = net.apply(params["body"], state["body"], unchanged, *parents(given))
        return _checked_features(features, unchanged)

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        body_key, head_key = jax.random.split(key)
        unchanged, changed = mask.split(x)
        params, state = {}, {}
        params["body"], state["body"] = net.init(body_key, unchanged, *parents(given))
        features = features_of(params, state, unchanged, given)
        params["head"], state["head"] = head_of(changed).init(head_key, features)
        return params, state

    def run(direction: Any, params: PyTree, state: PyTree, x: Array, given: Any) -> tuple[Array, Array]:
        unchanged, changed = mask.split(x)
        features = features_of(params, state, unchanged, given)
        output, _ = head_of(changed).apply(params["head"], state["head"], features)
        theta = mask.only(_arranged(output, changed, elementwise.size))
        changed, log_det = direction(theta, changed)
        total = summed(mask.only(log_det))
        return mask.merge(unchanged, changed), total

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        return run(elementwise.forward, params, state, x, given)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, _key: Key | None) -> tuple[Array, Array]:
        return run(elementwise.inverse, params, state, z, given)

    return checked("coupling", init, forward, inverse)


def _arranged(output: Array, changed: Array, size: int) -> Array:
    """Parameters of each element on a last axis; the parameters lie side by side, so that reading one is a slice."""
    expected = (*changed.shape[:-1], size * changed.shape[-1])
    if output.shape != expected:
        raise ValueError(
            f"coupling: the head returned shape {list(output.shape)}, expected {list(expected)}; head(outputs) must "
            "return a network with as many outputs on the last axis that keeps the other axes."
        )
    return jnp.moveaxis(output.reshape(*changed.shape[:-1], size, changed.shape[-1]), -2, -1)


def _checked_features(features: Any, unchanged: Array) -> Array:
    shape = getattr(features, "shape", None)
    if shape is None:
        raise TypeError(f"coupling: body must return one array of features, got {type(features).__name__}.")
    if len(shape) != unchanged.ndim or shape[:-1] != unchanged.shape[:-1]:
        raise ValueError(
            f"coupling: body returned features of shape {list(shape)} for an unchanged part {list(unchanged.shape)}, "
            f"expected {[*unchanged.shape[:-1], 'width']}; use a body that keeps all axes but the last, such as "
            "convolutions for images, or reshape the event to a vector."
        )
    if features.dtype != unchanged.dtype:
        raise TypeError(
            f"coupling: body returned {features.dtype} for data of {unchanged.dtype}; compute its features in the "
            "data's dtype."
        )
    return features
