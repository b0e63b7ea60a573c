"""A check of a bijection: its inverse, and the logarithm of the determinant of its Jacobian."""

from __future__ import annotations

__all__ = ["Check", "check"]

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vifx.checks import require
from vifx.core.types import Array, Bijection, PyTree
from vifx.flows.checked import A_BIJECTION, check_output

_FACTOR = 20.0  # times the rounding of one operation; the errors of the shipped bijections are smaller

_ALONE = "forward moves z by {found:.6g} where example {at} is alone in the batch; examples must not depend on others"
_TRIP = (
    "inverse(forward(x)) misses x by {found:.6g} at example {at}, of which rounding explains {expected:.2g}; the two "
    "directions are not inverse to each other"
)
_FORWARD = (
    "forward's log_det is {found:.6g} at example {at}, but log|det ∂z/∂x| is {expected:.6g}; count every element of "
    "the event once, and mind the sign"
)
_INVERSE = (
    "inverse's log_det is {found:.6g} at example {at}, but log|det ∂x/∂z| is {expected:.6g}; it is minus that of "
    "forward at the same point"
)


class Check(NamedTuple):
    """The largest errors of a bijection over some examples, at one place of its parameters.

    Attributes:
      round_trip: ``‖inverse(forward(x)) − x‖``, in the unit of x.
      log_det: of `forward`, against ``log|det ∂z/∂x|`` by automatic differentiation, in nats.
      inverse_log_det: of `inverse`, against minus the same, in nats.
      condition: the largest condition number of the Jacobians, by which rounding grows.
    """

    round_trip: float
    log_det: float
    inverse_log_det: float
    condition: float


def check(
    bijection: Bijection,
    x: Array,
    given: Any = None,
    *,
    params: PyTree | None = None,
    state: PyTree | None = None,
    seed: int = 0,
    scale: float = 0.3,
    tolerance: float = 1.0,
) -> Check:
    """Compare both directions of a bijection with each other and with the automatic Jacobian.

    Rounding is taken into account, with a condition number c of the Jacobian J: a round trip may err by
    ``20 ε (‖z‖ ‖J⁻¹‖ + ‖x‖)`` and a log-determinant by ``20 ε max(c, |log|det J|| + 1)``, both times `tolerance`. In
    double precision (``jax.enable_x64(True)``) next to nothing is allowed, while a wrong constant or sign is of the
    order of 1. A log-determinant that is estimated does not pass: check the exact form, such as ``trace="exact"``.

    Args:
      bijection: yours, or a shipped one.
      x: a few examples of data, ``[examples, *event]``; the Jacobian is of the number of elements squared.
      given: what it is conditioned on.
      params: the parameters with which it is checked; None for those that `init` makes of `x`, perturbed at random,
        since many bijections start as the identity, which hides mistakes.
      state: the state that belongs to `params`; None if they are None.
      seed: seed of the perturbation.
      scale: the standard deviation of the perturbation.
      tolerance: a factor of what is allowed, for directions that are approximate.

    Returns:
      The errors, if they are allowed.

    Raises:
      ValueError: an error is larger, shapes or dtypes are not kept, or the examples of a batch depend on each other;
        the message names the direction, the example and both numbers.
      TypeError: it is not a `Bijection`.

    Example:
      >>> import jax.numpy as jnp
      >>> from vifx import flows
      >>> x = jnp.array([[0.5, 2.0], [1.0, -1.0]])
      >>> check(flows.scale(), x).log_det < 1e-5
      True
      >>> wrong = flows.checked(  # |det| of a product with 2 in two dimensions is 4, not 2
      ...     "double",
      ...     lambda key, x, given: ({}, {}),
      ...     lambda params, state, x, given, key: (2 * x, jnp.full(len(x), jnp.log(2.0))),
      ...     lambda params, state, z, given, key: (z / 2, -jnp.full(len(z), jnp.log(2.0))),
      ... )
      >>> check(wrong, x)
      Traceback (most recent call last):
        ...
      ValueError: check: forward's log_det is 0.693147 at example 0, but log|det ∂z/∂x| is 1.38629; count every \
element of the event once, and mind the sign.
    """
    require(bijection, Bijection, "check: bijection", *A_BIJECTION)
    if params is None:
        params, state = jax.jit(bijection.init)(jax.random.key(seed), x, given)
        params = _moved(params, seed, scale)
    z, log_det = jax.jit(bijection.forward)(params, state, x, given)
    if z.size < x.size:
        raise ValueError(
            f"check: forward maps {list(x.shape)} to {list(z.shape)}, fewer elements: its log-determinant is one of "
            "the free coordinates of x, which only the bijection knows; compare it with the Jacobian of its inverse."
        )
    check_output("check: forward", x, z, log_det)
    back, inverse_log_det = check_output("check: inverse", z, *jax.jit(bijection.inverse)(params, state, z, given))
    if back.shape != x.shape:
        raise ValueError(f"check: inverse returns {list(back.shape)} for data {list(x.shape)}; undo every reshaping.")
    alone, jacobian = _one_by_one(bijection, params, state, x, given)
    singular = np.linalg.svd(jacobian, compute_uv=False)
    exact = np.linalg.slogdet(jacobian)[1]
    unit = tolerance * _FACTOR * float(jnp.finfo(x.dtype).eps)
    condition = singular[:, 0] / np.maximum(singular[:, -1], np.finfo(np.float64).tiny)
    length = np.linalg.norm(_rows(z), axis=1) / singular[:, -1] + np.linalg.norm(_rows(x), axis=1)
    nats = unit * np.maximum(condition, np.abs(exact) + 1)
    trip, apart = (np.linalg.norm(_rows(a) - _rows(b), axis=1) for a, b in ((back, x), (z, alone)))
    ahead, behind = (np.asarray(each, np.float64) for each in (log_det, inverse_log_det))
    mistakes = (
        (apart, unit * condition * (np.linalg.norm(_rows(z), axis=1) + 1), _ALONE, apart, apart),
        (trip, unit * length, _TRIP, trip, unit * length),
        (np.abs(ahead - exact), nats, _FORWARD, ahead, exact),
        (np.abs(behind + exact), 2 * nats, _INVERSE, behind, -exact),
    )
    for error, allowed, words, found, expected in mistakes:
        bad = ~(error <= allowed)  # NaN too
        if np.any(bad):
            at = int(np.argmax(bad))
            message = words.format(at=at, found=found[at], expected=expected[at])
            raise ValueError("check: " + message + ".")
    errors = (trip, np.abs(ahead - exact), np.abs(behind + exact), condition)
    return Check(*(float(np.max(each)) for each in errors))


def _rows(value: Array) -> NDArray[np.float64]:
    return np.asarray(value, np.float64).reshape(len(value), -1)


def _moved(params: PyTree, seed: int, scale: float) -> PyTree:
    """Parameters at a random place around given ones, drawn by NumPy, which compiles nothing."""
    draw = np.random.default_rng(seed)

    def one(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.asarray(np.asarray(leaf) + scale * draw.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(one, params)


def _one_by_one(
    bijection: Bijection, params: PyTree, state: PyTree, x: Array, given: Any
) -> tuple[Array, NDArray[np.float64]]:
    """Each example alone: ``z`` ``[examples, ...]`` and its Jacobian ``[examples, elements, elements]``."""

    def one(row: Array, own: Any) -> tuple[Array, Array]:
        own = jax.tree.map(lambda leaf: leaf[None], own)
        z = bijection.forward(params, state, row[None], own)[0].reshape(-1)
        return z, z

    compiled = jax.jit(jax.vmap(jax.jacfwd(one, has_aux=True)))
    jacobian, z = compiled(x, given)
    return z, np.asarray(jacobian, np.float64).reshape(len(x), x[0].size, x[0].size)
