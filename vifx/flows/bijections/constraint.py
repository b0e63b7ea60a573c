"""Data of a constrained set onto unconstrained numbers, by NumPyro's transforms."""

from __future__ import annotations

__all__ = ["support"]

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpyro.distributions import biject_to, constraints

from vifx.checks import described
from vifx.core.types import Array, Bijection, Key, PyTree
from vifx.flows.bijections.condition import summed
from vifx.flows.bijections.stick_breaking import (
    broken,
    broken_log_det,
    correlation_log_det,
    of_correlation_cholesky,
)
from vifx.flows.checked import checked

_SLACK = 2.0**-11.5  # √ε of single precision: how far rounding may move data off a surface, relative to their size


def support(constraint: Any) -> Bijection:
    """Take data of a constrained set to unconstrained numbers: the first map of a flow of positive numbers, shares, ….

    The set is a constraint of NumPyro, ``numpyro.distributions.constraints``: ``positive``, ``unit_interval``,
    ``interval(a, b)``, ``greater_than(a)``, ``less_than(b)``, ``simplex``, ``ordered_vector``,
    ``positive_ordered_vector``, ``lower_cholesky``, ``corr_cholesky``, ``corr_matrix``, ``positive_definite``,
    ``l1_ball``, …, or the ``support`` of a distribution. With NumPyro's ``T = biject_to(constraint)``, ``z = T⁻¹(x)``
    and ``log|det ∂z/∂x| = −T.log_abs_det_jacobian(z, x)`` in nats, summed over the event; of the simplex and of
    correlations in a form that keeps its digits near the boundary.

    A surface has fewer free coordinates than elements: z of the simplex of k shares has k − 1 elements, of a
    symmetric k × k matrix k(k + 1)/2, of a correlation matrix k(k − 1)/2; so does the base. The density is then one of
    the free coordinates of x, as those of NumPyro's own distributions are: of all shares but the last, of the
    elements of the lower triangle.

    Data must lie inside, off the boundary, and on a surface up to √ε of single precision. Others are an error where
    they can be seen; under `jax.jit` their ``log_det`` is −∞, so that their density is zero, and gradients are finite.

    The flow of a latent, which has no data, is initialized on points of the set that noise of the base makes.

    Args:
      constraint: the set of one event; further axes of an event hold several of them.

    Raises:
      TypeError: `constraint` is not a constraint.
      ValueError: NumPyro has no map from unconstrained numbers onto the set, as for discrete ones; from the
        bijection, events of another shape, or data outside.

    >>> import jax, jax.numpy as jnp
    >>> from numpyro.distributions import constraints
    >>> bijection, x = support(constraints.simplex), jnp.array([[0.5, 0.25, 0.25]])
    >>> params, state = bijection.init(jax.random.key(0), x)
    >>> z, log_det = bijection.forward(params, state, x)
    >>> [round(float(each), 4) for each in (*z[0], jnp.exp(log_det[0]))]
    [0.6931, 0.0, 32.0]
    """
    map_onto = _onto(constraint)
    flat = map_onto.each.event_dim == 0
    repeats = constraint.event_dim - map_onto.each.event_dim

    def init(_key: Key, _x: Array, _given: Any) -> tuple[PyTree, PyTree]:
        return {}, {}

    def forward(_params: PyTree, _state: PyTree, x: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        _check_axes(x, constraint, constraint.event_dim, "forward")
        with _relaxed():
            _shape(map_onto.transform.inverse_shape, x.shape, constraint, "forward")
            inside = jax.lax.stop_gradient(_inside(map_onto, x, flat))
            _check_inside(inside, x, constraint)
            safe = jnp.where(_wide(inside, x), x, constraint.feasible_like(x).astype(x.dtype))
            z = map_onto.back(safe)
            log_det = -_per_example(map_onto.log_det(z, safe), x)
        return z, jnp.where(inside, log_det, -jnp.inf)

    def inverse(_params: PyTree, _state: PyTree, z: Array, _given: Any, _key: Key | None) -> tuple[Array, Array]:
        _check_axes(z, constraint, map_onto.transform.domain.event_dim + repeats, "inverse")
        with _relaxed():
            _shape(map_onto.transform.forward_shape, z.shape, constraint, "inverse")
            largest = jnp.finfo(z.dtype).max
            x = jnp.clip(map_onto.transform(z), -largest, largest)
            return x, _per_example(map_onto.log_det(z, x), z)

    def stand_in(z: Array) -> Array:
        return inverse({}, {}, z, None, None)[0]

    return checked("support", init, forward, inverse, scalars=True, keeps_size=False, stand_in=stand_in)


class _Onto(NamedTuple):
    """NumPyro's transform onto the set of one number, vector or matrix, and its two other functions.

    Attributes:
      each: the constraint without the axes that only repeat it.
      transform: ``z -> x``.
      back: ``x -> z``.
      log_det: ``(z, x) -> log|det ∂x/∂z|``.
    """

    each: Any
    transform: Any
    back: Callable[[Array], Array]
    log_det: Callable[[Array, Array], Any]


def _onto(constraint: Any) -> _Onto:
    if isinstance(constraint, type) or not isinstance(constraint, constraints.Constraint):
        raise TypeError(
            f"support: constraint must be a constraint of numpyro.distributions.constraints, got "
            f"{described(constraint)}; give constraints.positive or constraints.interval(0, 2) say."
        )
    each = constraint
    while isinstance(each, constraints.independent):
        each = each.base_constraint
    fix = (
        "dequantize whole numbers (vifx.data.dequantize), or model them by a factor with a finite distribution"
        if each.is_discrete
        else "write the map yourself, with flows.checked or flows.pointwise"
    )
    if each.is_discrete or isinstance(each, type(constraints.complex)):
        raise ValueError(f"support: {constraint!r} has no bijection onto unconstrained real numbers; {fix}.")
    try:
        transform = biject_to(each)
    except RuntimeError as error:  # its subclass for what is not there
        raise ValueError(
            f"support: NumPyro's biject_to has no map from unconstrained numbers onto {constraint!r}; {fix}."
        ) from error
    if isinstance(each, type(constraints.simplex)):
        return _Onto(each, transform, broken, lambda z, _x: broken_log_det(z))
    if isinstance(each, type(constraints.corr_cholesky)):
        return _Onto(each, transform, of_correlation_cholesky, lambda z, _x: correlation_log_det(z, matrix=False))
    if isinstance(each, type(constraints.corr_matrix)):
        return _Onto(
            each,
            transform,
            lambda x: of_correlation_cholesky(jnp.linalg.cholesky(x)),
            lambda z, _x: correlation_log_det(z, matrix=True),
        )
    return _Onto(each, transform, transform.inv, transform.log_abs_det_jacobian)


@contextlib.contextmanager
def _relaxed() -> Iterator[None]:
    """NumPyro mixes dtypes and ranks; strict users may have constraints too."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def _inside(map_onto: _Onto, x: Array, flat: bool) -> Array:
    """Which examples the transform reproduces from finite numbers, ``[examples]``."""
    z = map_onto.back(x)
    inside = jnp.isfinite(z).reshape(x.shape[0], -1).all(axis=1)
    if flat:
        return inside
    axes = tuple(range(1, x.ndim))
    return inside & (jnp.abs(map_onto.transform(z) - x).max(axes) <= _SLACK * jnp.abs(x).max(axes))


def _wide(inside: Array, x: Array) -> Array:
    return jnp.broadcast_to(inside.reshape(-1, *(1,) * (x.ndim - 1)), x.shape)


def _per_example(log_det: Any, like: Array) -> Array:
    """The sum over what is left of the event, ``[examples]``."""
    found = jnp.asarray(log_det, like.dtype)
    return summed(jnp.broadcast_to(found, like.shape[:1]) if found.ndim == 0 else found)


def _check_inside(inside: Array, x: Array, constraint: Any) -> None:
    if isinstance(inside, Tracer) or np.asarray(inside).all():
        return
    at = int(np.argmin(np.asarray(inside)))
    found = np.asarray(x[at])
    raise ValueError(
        f"support: forward needs data inside of {constraint!r}, off its boundary, and example {at} is not, with values "
        f"from {found.min()} to {found.max()}; leave it out, or move it inside."
    )


def _check_axes(x: Array, constraint: Any, axes: int, direction: str) -> None:
    if x.ndim - 1 < axes:
        raise ValueError(
            f"support: {direction} for {constraint!r} needs events of at least {axes} axes, got {list(x.shape)}; give "
            "[examples, *event]."
        )


def _shape(shape_of: Any, shape: tuple[int, ...], constraint: Any, direction: str) -> None:
    try:
        shape_of(shape)
    except ValueError as error:
        raise ValueError(
            f"support: {direction} for {constraint!r} cannot take events {list(shape[1:])} ({error}); give events of "
            "the constraint's shape, and a base of as many elements as it has free coordinates."
        ) from error
