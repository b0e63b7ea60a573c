"""A bijection whose conditioning first passes through a network."""

from __future__ import annotations

__all__ = ["conditioned"]

from typing import Any

import jax

from vifx.checks import require
from vifx.core.nets import as_net
from vifx.core.types import Array, Bijection, Key, PyTree, Velocity
from vifx.flows.bijections.condition import required_parents
from vifx.flows.checked import A_BIJECTION, checked


def conditioned(bijection: Bijection, network: Any) -> Bijection:
    """Condition on features of `given` in place of `given` itself: ``f(x; given) = bijection(x; network(given))``.

    The network runs once, however many layers read its features: an encoder's body for a posterior that is a flow, or
    one-hot classes (``networks.OneHot(10)``) for a class-conditional one.

    Args:
      bijection: reads the features.
      network: a `Net`, Linen or NNX module of the parents, without state that training changes.

    Raises:
      ValueError: it is used without `given`.
      TypeError: `bijection` is not a `Bijection`, or `network` is not a network.
    """
    require(bijection, Bijection, "conditioned: bijection", *A_BIJECTION)
    net = as_net(network)

    def features_of(params: PyTree, state: PyTree, given: Any) -> Any:
        return net.apply(params["network"], state["network"], *required_parents(given, "conditioned"))[0]

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        own, inner = jax.random.split(key)
        net_params, net_state = net.init(own, *required_parents(given, "conditioned"))
        features = features_of({"network": net_params}, {"network": net_state}, given)
        params, state = bijection.init(inner, x, features)
        return {"network": net_params, "bijection": params}, {"network": net_state, "bijection": state}

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        features = features_of(params, state, given)
        return bijection.forward(params["bijection"], state["bijection"], x, features, key=key)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        features = features_of(params, state, given)
        return bijection.inverse(params["bijection"], state["bijection"], z, features, key=key)

    options: Any = {"scalars": True, "keeps_size": False, "stand_in": bijection.stand_in}
    own = bijection.velocity
    if own is None:
        return checked("conditioned", init, forward, inverse, **options)

    def start(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> Array:
        return own.start(params["bijection"], state["bijection"], x, features_of(params, state, given), key)

    def end(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> Array:
        return own.end(params["bijection"], state["bijection"], z, features_of(params, state, given), key)

    def field(
        params: PyTree, state: PyTree, x: Array, t: Array, given: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        features = features_of(params, state, given)
        moving, inner = own.field(params["bijection"], state["bijection"], x, t, features, key=key, train=train)
        return moving, {**state, "bijection": inner}

    return checked("conditioned", init, forward, inverse, velocity=Velocity(start, end, field), **options)
