"""Continuous flows: the solution of a differential equation as a bijection."""

from __future__ import annotations

__all__ = ["continuous"]

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vifx.checks import require_choice, require_integer, require_number
from vifx.core.nets import as_net
from vifx.core.types import Array, Bijection, Key, PyTree, Velocity
from vifx.dynamics.adaptive import adaptive
from vifx.dynamics.steppers import METHODS, Field, Stepper
from vifx.flows.bijections.condition import parents
from vifx.flows.checked import checked


def continuous(
    velocity: Any,
    *,
    steps: int = 16,
    time: float = 1.0,
    method: str = "rk4",
    trace: str = "exact",
    solver: Any = None,
    tolerance: float = 1e-5,
) -> Bijection:
    """Move along a velocity field from data at time 0 to base at `time`: ``dx/dt = v(x, t)``.

    ``d log|det ∂x(t)/∂x(0)| / dt = tr ∂v/∂x`` in nats. Both are integrated together; the inverse integrates backwards:

    * `solver` None: by `method` with steps of fixed size, in one scan. A round trip, and the log-determinant against
      the Jacobian, are therefore exact only up to an error of order ``(time/steps)⁴`` with the classical Runge–Kutta
      method, which doubling `steps` divides by 16; of order 2 with Heun's and the midpoint method, and 1 with Euler's,
      at two evaluations of v and one in the place of four. Reverse-mode gradients keep one state for each step and
      compute the rest again.
    * a solver of diffrax, such as ``diffrax.Tsit5()``: with adaptive steps, for each example its own, so that no
      example's result depends on the others in its batch; compiled, a batch takes as long as its longest path. Both
      errors are then about `tolerance`. Gradients are those of the steps taken, by diffrax's recursive checkpoints.
      An example whose path is not finished after 4096 steps is NaN, and so are its gradients.

    The trace of an event of n elements:

    * ``"exact"``: n products with the Jacobian in each evaluation of v;
    * ``"hutchinson"``: ``εᵀ (∂v/∂x) ε`` with ε of random signs from `key`, drawn once for the whole path, so that the
      log-determinant is unbiased for the exact one's, and both directions with one key cancel. It needs `key`.

    Args:
      velocity: a `Net`, Linen or NNX module of ``(x, t, *given)``, with t as ``[examples, 1]``, that returns x's
        shape. To start as the identity let its last layer be zero at first.
      steps: how many steps of the method, at least 1; a solver chooses its own.
      time: the length of the path, positive.
      method: ``"rk4"``, ``"heun"``, ``"midpoint"`` or ``"euler"``. Parameters are those of `velocity` whatever the
        method and its steps: a flow is drawn from with few of them, and measured with many.
      trace: ``"exact"`` or ``"hutchinson"``.
      solver: None, or an instance of an adaptive diffrax solver; diffrax comes with ``pip install 'vifx[ode]'``.
      tolerance: relative and absolute tolerance of a step of `solver`, positive and above the rounding of x's dtype;
        used with a solver alone.

    Raises:
      ValueError: a hyperparameter is out of its range, `velocity` changes the shape, or an estimate is used without
        `key`.
      TypeError: `velocity` is not a network, or `solver` neither None nor an adaptive solver's instance.
      ImportError: a solver is given and diffrax is not installed.

    References: Chen et al., Neural Ordinary Differential Equations, 2018, arXiv:1806.07366; Grathwohl et al., FFJORD,
    2019, arXiv:1810.01367.
    """
    require_integer(steps, "continuous: steps")
    require_number(time, "continuous: time", above=0)
    require_choice(method, METHODS, "continuous: method")
    require_choice(trace, ("exact", "hutchinson"), "continuous: trace")
    net = as_net(velocity)
    integrate = None if solver is None else adaptive(solver, tolerance=tolerance, owner="continuous")

    def init(key: Key, x: Array, given: Any) -> tuple[PyTree, PyTree]:
        params, state = net.init(key, x, jnp.zeros((x.shape[0], 1), x.dtype), *parents(given))
        jax.eval_shape(lambda: _field(net.apply, params, state, given)(x, jnp.zeros((), x.dtype)))
        return params, state

    def flow(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None, *, backward: bool) -> Any:
        probe = None if trace == "exact" else _probe(key, x)

        def path(x: Array, given: Any, probe: Array | None) -> tuple[Array, Array]:
            field = _field(net.apply, params, state, given)
            rate = _exact(field, x) if probe is None else _hutchinson(field, probe)
            along: Field = lambda moving, now: rate(moving[0], now)  # noqa: E731
            start = (x, jnp.zeros(x.shape[0], x.dtype))
            if integrate is None:
                return _stepped(METHODS[method], along, start, steps, time, backward)
            ends = jnp.asarray((time, 0) if backward else (0, time), x.dtype)
            moved = integrate(lambda moving, now, _: along(moving, now), start, ends, None)
            return jax.tree.map(lambda kept: kept[0], moved)

        return path(x, given, probe) if integrate is None else _one_by_one(path)(x, given, probe)

    def forward(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return flow(params, state, x, given, key, backward=False)

    def inverse(params: PyTree, state: PyTree, z: Array, given: Any, key: Key | None) -> tuple[Array, Array]:
        return flow(params, state, z, given, key, backward=True)

    def field(
        params: PyTree, state: PyTree, x: Array, t: Array, given: Any, *, key: Key | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        return _moving(net.apply, params, state, x, time * t[:, None], given, scale=time, key=key, train=train)

    velocity = Velocity(_unchanged, _unchanged, field)
    return checked("continuous", init, forward, inverse, scalars=True, velocity=velocity)


def _unchanged(params: PyTree, state: PyTree, x: Array, given: Any, key: Key | None) -> Array:
    del params, state, given, key
    return x


def _probe(key: Key | None, x: Array) -> Array:
    if key is None:
        raise ValueError("continuous: trace='hutchinson' is an estimate and needs key=; pass one, or trace='exact'.")
    return jax.random.rademacher(jax.random.fold_in(key, 0), x.shape, x.dtype)


def _one_by_one(path: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Array, Array]]:
    """Give each example to a function of batches as a batch of one."""

    def alone(*example: Any) -> tuple[Array, Array]:
        return jax.tree.map(lambda part: part[0], path(*jax.tree.map(lambda part: part[None], example)))

    return jax.vmap(alone)


def _field(apply: Any, params: PyTree, state: PyTree, given: Any) -> Callable[[Array, Array], Array]:
    def field(x: Array, now: Array) -> Array:
        return _moving(apply, params, state, x, jnp.broadcast_to(now, (x.shape[0], 1)), given)[0]

    return field


def _moving(
    apply: Any, params: PyTree, state: PyTree, x: Array, t: Array, given: Any, *, scale: float = 1.0, **mode: Any
) -> tuple[Array, PyTree]:
    """Return the velocity at ``[examples, *event]`` and ``[examples, 1]``, times a scale, and the state."""
    moving, state = apply(params, state, x, t, *parents(given), **mode)
    if moving.shape != x.shape:
        raise ValueError(
            f"continuous: velocity maps {list(x.shape)} to {list(moving.shape)}; it must return the event's shape."
        )
    return (moving if scale == 1 else scale * moving), state


def _exact(field: Callable[[Array, Array], Array], x: Array) -> Callable[[Array, Array], tuple[Array, Array]]:
    basis = jnp.eye(x[0].size, dtype=x.dtype).reshape(-1, *x.shape[1:])

    def rate(x: Array, now: Array) -> tuple[Array, Array]:
        moving, push = jax.linearize(lambda x: field(x, now), x)
        columns = jax.vmap(lambda direction: push(jnp.broadcast_to(direction, x.shape)))(basis)
        return moving, jnp.sum(columns * basis[:, None], axis=(0, *range(2, x.ndim + 1)))

    return rate


def _hutchinson(field: Callable[[Array, Array], Array], probe: Array) -> Callable[[Array, Array], tuple[Array, Array]]:
    def rate(x: Array, now: Array) -> tuple[Array, Array]:
        moving, pushed = jax.jvp(lambda x: field(x, now), (x,), (probe,))
        return moving, jnp.sum(pushed * probe, axis=tuple(range(1, x.ndim)))

    return rate


def _stepped(method: Stepper, along: Field, start: PyTree, steps: int, time: float, backward: bool) -> Any:
    """Integrate a value and its log-determinant."""
    length = (-1 if backward else 1) * time / steps

    def one(moving: PyTree, index: Array) -> tuple[PyTree, None]:
        return method(along, moving, (time if backward else 0.0) + length * index, length), None

    indices = jnp.arange(steps, dtype=start[0].dtype)
    return jax.lax.scan(jax.checkpoint(one, prevent_cse=False), start, indices)[0]
