"""A normal distribution around what a network returns."""

from __future__ import annotations

__all__ = ["around"]

from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as numpyro

from vifx.checks import require_number
from vifx.core.nets import as_net
from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import Normal
from vifx.networks.layers import positive


def around(network: Any, scale: float, *, learned: bool = False, minimum: float = 1e-3) -> Net:
    """A network whose output is ``N(f(…), diag σ²)``, f what the given one returns: noise around a deterministic map.

    ``around(dynamics.ode_step(f), 0.1)`` is the transition of an ODE with noise. The heads of this room have an affine
    layer of their own; this has none.

    Args:
      network: a `Net`, Linen or NNX module that returns floating values ``[examples, *event]``.
      scale: the standard deviation σ of every element, positive; what it starts from if it is learned.
      learned: whether σ is learned, one for each element of the event: ``σ = scale (m + (1 − m) softplus(r + log(e −
        1)))`` of parameters r that start at 0.
      minimum: m, so that a learned σ is above ``scale · m``.

    Raises:
      TypeError: `network` is not a network.
      ValueError: `scale` is not positive and finite, or `minimum` is not in (0, 1); where it is used, if the network
        does not return floating values.

    >>> import jax, jax.numpy as jnp
    >>> from vifx import nets
    >>> half = nets.from_functions(lambda key, x: {}, lambda params, x: 0.5 * x)
    >>> law, _ = around(half, 0.1).apply({"mean": {}}, {}, jnp.ones((3, 2)))
    >>> law.batch_shape, law.event_shape, float(law.mean[0, 0])
    ((3,), (2,), 0.5)
    """
    net = as_net(network)
    require_number(scale, "around: scale", above=0)
    require_number(minimum, "around: minimum", above=0, below=1)

    def init(key: Key, *inputs: Array) -> tuple[PyTree, PyTree]:
        params, state = net.init(key, *inputs)
        if not learned:
            return {"mean": params}, state
        shape = jax.eval_shape(lambda: net.apply(params, state, *inputs)[0])
        return {"mean": params, "raw_scale": jnp.zeros(shape.shape[1:], shape.dtype)}, state

    def apply(
        params: PyTree, state: PyTree, *inputs: Array, key: Key | None = None, train: bool = False
    ) -> tuple[numpyro.Distribution, PyTree]:
        loc, state = net.apply(params["mean"], state, *inputs, key=key, train=train)
        if not hasattr(loc, "dtype") or not jnp.issubdtype(loc.dtype, jnp.floating) or loc.ndim == 0:
            what = f"an array {loc.dtype}{list(loc.shape)}" if hasattr(loc, "dtype") else f"a {type(loc).__name__}"
            raise ValueError(
                f"around: network must return floating values [examples, *event], got {what}; a network that returns a "
                "distribution needs no noise around it"
            )
        if learned:
            own = jnp.broadcast_to(scale * positive(params["raw_scale"], minimum), loc.shape)
        else:
            own = jnp.full_like(loc, scale)
        return Normal(loc, own).to_event(loc.ndim - 1), state

    return Net(init, apply)
