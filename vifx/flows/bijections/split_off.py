"""A split of the channels: half of them leave, standardized given the other half."""

from __future__ import annotations

__all__ = ["split_off"]

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require
from vifx.core.nets import as_net
from vifx.core.types import Array, Bijection, Key, Net, PyTree
from vifx.flows.bijections.condition import parents, rows_of, summed
from vifx.flows.bijections.default_networks import zero_linear
from vifx.flows.checked import A_BIJECTION, checked


def split_off(rest: Bijection, body: Any = None, *, head: Callable[[int], Any] | None = None) -> Bijection:
    """Transform half of the channels further, and let the other half leave with a conditional Gaussian prior.

    With ``x = (a, b)``, halves of the last axis: ``z = (rest(a), (b − μ(a)) / σ(a))``, one vector
    ``[examples, elements]``, and ``log|det ∂z/∂x| = log|det ∂rest/∂a| − Σ log σ(a)`` in nats. So ``b | a`` is
    ``N(μ(a), σ²(a))`` under a standard normal base, and a temperature of the base acts on all scales of a multi-scale
    flow alike.

    ``μ`` and ``log σ`` are a head, zero at the start, on features of ``a``; so ``b`` first leaves as it is.

    Args:
      rest: the bijection that transforms ``a``; its output may have any shape.
      body: a `Net`, Linen or NNX module of ``(a, *given)``, without state that training changes, with features
        ``[..., width]`` at each position of ``a``; None for ``a`` itself.
      head: from a number of outputs to a network of the features that starts at zero, such as
        ``networks.ZeroConv``; None for an affine map of the last axis.

    Raises:
      TypeError: `rest` is not a `Bijection`, or `body` is not a network.
      ValueError: from `init`, the number of channels is odd, or the head's outputs do not fit.

    References: Dinh, Sohl-Dickstein & Bengio (2017), arXiv:1605.08803; Kingma & Dhariwal (2018), arXiv:1807.03039.

    >>> import jax, jax.numpy as jnp
    >>> from vifx import flows
    >>> bijection, x = split_off(flows.actnorm()), jnp.array([[2.0, 7.0], [4.0, 8.0]])
    >>> params, state = bijection.init(jax.random.key(0), x)
    >>> print(bijection.forward(params, state, x)[0])
    [[-1.  7.]
     [ 1.  8.]]
    """
    require(rest, Bijection, "split_off: rest", *A_BIJECTION)
    prior = _prior(None if body is None else as_net(body), zero_linear if head is None else head)

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        if x.shape[-1] % 2:
            raise ValueError(
                f"split_off: the last axis of {list(x.shape)} must be even, since one half of it leaves; squeeze "
                "images first, or drop or pad a channel."
            )
        a, _ = jnp.split(x, 2, axis=-1)
        own, inner = jax.random.split(key)
        prior_params, prior_state = prior.init(own, a, *parents(given))
        params, state = rest.init(inner, a, given)
        kept = jax.eval_shape(lambda *inputs: rest.forward(*inputs)[0], params, state, a, given)
        # Arrays without elements, whose shapes the inverse restores.
        shapes = {name: jnp.zeros((0, *one.shape[1:]), x.dtype) for name, one in (("event", a), ("kept", kept))}
        return {"rest": params, "prior": prior_params}, {"rest": state, "prior": prior_state, **shapes}

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        a, b = jnp.split(x, 2, axis=-1)
        (mean, log_scale), _ = prior.apply(params["prior"], state["prior"], a, *parents(given))
        kept, log_det = rest.forward(params["rest"], state["rest"], a, given, key=key)
        leaving = (b - mean) * jnp.exp(-log_scale)
        z = jnp.concatenate([rows_of(kept), rows_of(leaving)], axis=1)
        return z, log_det - summed(log_scale)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        event, kept_event = (state[name].shape[1:] for name in ("event", "kept"))
        size = math.prod(event)
        kept, leaving = z[:, :size].reshape(-1, *kept_event), z[:, size:].reshape(-1, *event)
        a, log_det = rest.inverse(params["rest"], state["rest"], kept, given, key=key)
        (mean, log_scale), _ = prior.apply(params["prior"], state["prior"], a, *parents(given))
        b = mean + jnp.exp(log_scale) * leaving
        return jnp.concatenate([a, b], axis=-1), log_det + summed(log_scale)

    return checked("split_off", init, forward, inverse)


def _prior(body: Net | None, head: Callable[[int], Any]) -> Net:
    """The network ``(a, *given) -> (mean, log scale)`` of what leaves, given what stays."""

    def features(params: PyTree, state: PyTree, inputs: tuple[Any, ...]) -> Array:
        return inputs[0] if body is None else body.apply(params["body"], state["body"], *inputs)[0]

    def init(key: Key, *inputs: Any) -> tuple[PyTree, PyTree]:
        first, last = jax.random.split(key)
        params, state = {}, {}
        if body is not None:
            params["body"], state["body"] = body.init(first, *inputs)
        params["head"], state["head"] = as_net(head(2 * inputs[0].shape[-1])).init(
            last, features(params, state, inputs)
        )
        return params, state

    def apply(
        params: PyTree, state: PyTree, *inputs: Any, key: Key | None = None, train: bool = False
    ) -> tuple[tuple[Array, Array], PyTree]:
        del key, train
        a = inputs[0]
        network = as_net(head(2 * a.shape[-1]))
        output, _ = network.apply(params["head"], state["head"], features(params, state, inputs))
        expected = (*a.shape[:-1], 2 * a.shape[-1])
        if output.shape != expected:
            raise ValueError(
                f"split_off: body and head give {list(output.shape)} for {list(a.shape)}, expected a mean and a log "
                f"scale of each element, {list(expected)}; let both keep all axes but the last."
            )
        mean, log_scale = jnp.split(output, 2, axis=-1)
        return (mean, log_scale), state

    return Net(init, apply)
