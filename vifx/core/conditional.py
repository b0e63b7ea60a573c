"""Conditionals: a factor evaluated at its parents' values, checked, drawn from and measured."""

from __future__ import annotations

__all__ = ["condition", "density", "draw", "fold", "nearest", "scope"]

import math
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from vifx.checks import nearest
from vifx.core.factor import Factor, has_density
from vifx.core.types import EXAMPLE_AXES, Array, Key, Networks


def fold(key: Key, *names: str) -> Key:
    """Fold names into a key by a checksum that is the same in every process.

    Raises:
      TypeError: `key` is not a typed key.
    """
    dtype: Any = getattr(key, "dtype", None)
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(f"key must be a typed random key, such as jax.random.key(0), got {type(key).__name__}.")
    for name in names:
        key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return key


def scope(item: Factor) -> AbstractContextManager[Any]:
    """Name what is traced inside after a factor: by its owner, or its notation without one.

    The name is in profiles, and where a number that is not finite is looked for; compiled programs are the same.
    """
    return jax.named_scope(item.owner or item.name.replace(" ", ""))


def condition(
    key: Key | None, item: Factor, networks: Networks, values: Mapping[str, Array], examples: int
) -> tuple[Any, Networks]:
    """Evaluate a factor at its parents' values; return the checked conditional, and the networks in their new state.

    Raises:
      ValueError: parameters of the owner are missing, or the conditional's batch shape is wrong.
      TypeError: the network's output is not a distribution.
    """
    params, state, train = networks
    own_params, own_state = (params, state) if item.derived is not None else ({}, {})
    if item.owner is not None:
        if item.owner not in params:
            raise ValueError(f"params lacks {item.owner!r}, the owner of {item}{nearest(item.owner, tuple(params))}.")
        own_params, own_state = params[item.owner], state.get(item.owner, {})
    parents = (values[name] for name in item.given)
    with scope(item):
        conditional, own_state = item.conditional(key, own_params, own_state, *parents, train=train)
    _check_conditional(item, conditional, examples)
    return conditional, networks if item.owner is None else networks._replace(state={**state, item.owner: own_state})


def draw(key: Key, item: Factor, conditional: Any, examples: int) -> Array:
    """Draw one value per example from a conditional, ``[examples, *event]``.

    Raises:
      ValueError: the factor is known up to a constant only, or the sample's leading axis is not the examples.
    """
    if item.kind == "target":
        raise ValueError(
            f"{item} is known up to a constant and cannot be sampled; fit another joint to it, "
            f"kl(Joint(transformed({item.name!r}, ...)), Joint({item}), samples=...), and sample that."
        )
    with scope(item):
        value = conditional.sample(key, () if item.given else (examples,))
    if value.shape[:1] != (examples,):
        raise ValueError(
            f"{item}: a sample has shape {list(value.shape)}, expected the leading axis to be {examples} examples."
        )
    return _divided(value)


def _divided(value: Array) -> Array:
    """Divide values over the devices of the mesh that a step is traced for, as its batch is.

    What is drawn follows no example, so that a network of it would run whole on every device. What does not divide
    stays as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(name for name in EXAMPLE_AXES if name in mesh.axis_names)
    if not axes or value.shape[0] % math.prod(mesh.shape[axis] for axis in axes):
        return value
    return jax.lax.with_sharding_constraint(value, PartitionSpec(axes))


def density(item: Factor, conditional: Any, value: Array, examples: int) -> Array:
    """Evaluate a conditional's log-density in nats at one or more values per example.

    Args:
      conditional: one member per example, or without a batch axis.
      value: ``[copies × examples, *event]``, copy by copy.

    Returns:
      ``[copies × examples]``.

    Raises:
      ValueError: the factor is implicit, or event shapes disagree.
    """
    if not has_density(conditional):
        raise ValueError(
            f"{item} is implicit: it has no density. Compare it by a critic on samples, "
            f"adversarial(..., on={item.variables[0]!r}), or give it one with factor(...)."
        )
    event = getattr(conditional, "event_shape", None)
    if event is not None and tuple(value.shape[1:]) != tuple(event) and not _are_weights(conditional, value):
        raise ValueError(
            f"{item}: the distribution is over events of shape {list(event)}, but {item.variables[0]!r} has "
            f"{list(value.shape[1:])} per example; make the network's output match the variable."
        )
    rows = value.shape[0]
    expected = (rows,)
    if item.given and rows != examples:
        expected = (rows // examples, examples)
        value = value.reshape(*expected, *value.shape[1:])
    with scope(item):
        log_prob = conditional.log_prob(value)
    if log_prob.shape != expected:
        raise ValueError(
            f"{item}: log_prob has shape {list(log_prob.shape)}, expected {list(expected)}, one per example; declare "
            "event dimensions with .to_event(n)."
        )
    return log_prob.reshape(rows)


def _are_weights(conditional: Any, value: Array) -> bool:
    """Return whether a value is weights over the classes of a categorical: soft labels have one more axis."""
    event = tuple(conditional.event_shape)
    while hasattr(conditional, "base_dist"):
        conditional = conditional.base_dist
    classes = getattr(conditional, "classes", None)
    return jnp.issubdtype(value.dtype, jnp.floating) and tuple(value.shape[1:]) == (*event, classes)


def _check_conditional(item: Factor, conditional: Any, examples: int) -> None:
    if item.kind == "evidence":
        return
    samples = hasattr(conditional, "sample") or item.kind == "target"
    if not samples or (item.kind != "implicit" and not has_density(conditional)):
        what = (
            f"an array {conditional.dtype}{list(conditional.shape)}"
            if hasattr(conditional, "dtype")
            else f"{type(conditional).__name__}"
        )
        raise TypeError(
            f"{item}: the network's output is {what}, not a distribution; end it with a head such as "
            f"vifx.networks.DiagonalNormal, return a numpyro distribution, or declare implicit({item.name!r}, ...)."
        )
    shape = getattr(conditional, "batch_shape", None)
    expected = (examples,) if item.given else ()
    if shape is not None and tuple(shape) != expected:
        raise ValueError(
            f"{item}: the distribution has batch shape {list(shape)}, expected {list(expected)}"
            + (" (one member per example)" if item.given else " (a factor without parents has no batch axis)")
            + "; declare event dimensions with .to_event(n)."
        )
