"""Latent ODEs: observations around the path of a latent that a differential equation moves."""

from __future__ import annotations

__all__ = ["latent_ode"]

from typing import Any

import jax
import jax.numpy as jnp

from vifx.core.nets import as_net, is_network
from vifx.core.types import Array, Key, Net, PyTree
from vifx.distributions import EachStep
from vifx.dynamics.paths import ode_path


def latent_ode(
    f: Any,
    decoder: Any,
    *,
    stationary: bool = False,
    origin: float = 0.0,
    method: str = "rk4",
    substeps: int = 1,
    solver: Any = None,
    tolerance: float = 1e-5,
) -> Net:
    """The decoder of a latent ODE, a factor ``"x | z, times"``: ``dz/dt = f(z, t)``, ``x_t ~ decoder(z(t))``.

    The latent z is the state at the time `origin`. Steps are independent given the path, so times may be any, and not
    those of training: ``generative.sample(key, params, state, fixed={"z": z, "times": later})`` extrapolates.

    Args:
      f: the derivative, a `Net`, Linen or NNX module or a function, of ``(z, t)`` with t as ``[examples, 1]``.
      decoder: a `Net`, Linen or NNX module from the state at one time, ``[rows, *latent]``, to the distribution of what
        is seen then.
      stationary: whether the derivative does not read the time: `f` is then of ``(z)`` alone. One that reads it cannot
        know what to do at times beyond those of training, so this is how to extrapolate.
      origin: the time of z; every time of `times` is later.
      method: of fixed steps: ``"euler"``, ``"midpoint"``, ``"heun"`` or ``"rk4"``, as in `solve`.
      substeps: how many steps lead from one time to the next.
      solver: an adaptive solver of diffrax in place of fixed steps; None for none.
      tolerance: of the adaptive steps.

    Returns:
      A network of ``(z, times)``, the times ``[examples, steps]`` and increasing, or of ``(z, times, lengths)``, whose
      output is a `vifx.distributions.EachStep`.

    Raises:
      TypeError: `f` or `decoder` is not what is asked for.
      ValueError: a hyperparameter is out of its range; where it is used, if times do not increase from the origin on.

    References: Chen et al. (2018), arXiv:1806.07366, section 5; Rubanova, Chen & Duvenaud (2019), arXiv:1907.03907.
    """
    steps = None if solver is not None else substeps
    path = ode_path(
        _without_time(f) if stationary else f, method=method, substeps=steps, solver=solver, tolerance=tolerance
    )
    net = as_net(decoder)

    def init(key: Key, z: Array, times: Array, *lengths: Array) -> tuple[PyTree, PyTree]:
        del lengths
        of_field, of_decoder = jax.random.split(key)
        params, state = path.init(of_field, z, times)
        own, kept = net.init(of_decoder, z)
        return {"field": params, "decoder": own}, {"field": state, "decoder": kept}

    def apply(
        params: PyTree,
        state: PyTree,
        z: Array,
        times: Array,
        *lengths: Array,
        key: Key | None = None,
        train: bool = False,
    ) -> tuple[EachStep, PyTree]:
        of_field, of_decoder = (None, None) if key is None else jax.random.split(key)
        first = jnp.full((times.shape[0], 1), origin, times.dtype)
        at = jnp.concatenate([first, times], axis=1)
        states, _ = path.apply(params["field"], state["field"], z, at, key=of_field, train=train)
        rows = states[:, 1:].reshape(-1, *z.shape[1:])
        each, kept = net.apply(params["decoder"], state["decoder"], rows, key=of_decoder, train=train)
        law = EachStep(each, times.shape[1], lengths=lengths[0] if lengths else None)
        return law, {**state, "decoder": kept}

    return Net(init, apply)


def _without_time(f: Any) -> Net | Any:
    """Return the derivative ``(z) -> dz/dt`` as one of ``(z, t)``."""
    if not is_network(f):
        return lambda z, t: f(z)  # noqa: ARG005
    net = as_net(f)

    def init(key: Key, z: Array, t: Array) -> tuple[PyTree, PyTree]:
        del t
        return net.init(key, z)

    def apply(
        params: PyTree, state: PyTree, z: Array, t: Array, *, key: Key | None = None, train: bool = False
    ) -> tuple[Any, PyTree]:
        del t
        return net.apply(params, state, z, key=key, train=train)

    return Net(init, apply)
