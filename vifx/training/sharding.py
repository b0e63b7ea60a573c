"""Where arrays lie: the examples divided over a mesh, everything else on all of it."""

from __future__ import annotations

__all__ = [
    "check_divides",
    "data_mesh",
    "data_sharding",
    "padded",
    "replicate",
    "replicated",
    "require_mesh",
    "shard_batch",
]

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vifx.checks import require, require_batch, require_integer
from vifx.core.examples import WEIGHTS
from vifx.core.types import Array, Batch, PyTree


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Return a mesh with one axis, ``data``, over all devices of all hosts, or over these.

    Raises:
      TypeError: if `devices` are not devices.
    """
    if devices is not None:
        fix = "give some of jax.devices()"
        for device in require(devices, Sequence, "data_mesh: devices", "a sequence of devices", fix):
            require(device, jax.Device, "data_mesh: devices", "a sequence of devices", fix)
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def require_mesh(mesh: Mesh, caller: str) -> Mesh:
    """Return a mesh, checked for a `caller`.

    Raises:
      TypeError: if it is something else.
    """
    return require(mesh, Mesh, f"{caller}: mesh", "a jax.sharding.Mesh", "make one with training.data_mesh()")


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that lies whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def data_sharding(mesh: Mesh, *, batches: int = 1) -> NamedSharding:
    """Return the sharding of a batch: its axis of examples divided over the mesh's ``data`` axis.

    That is its first axis, or its second if the first counts `batches`.

    Raises:
      ValueError: if the mesh has no axis ``data``.
    """
    if "data" not in mesh.axis_names:
        raise ValueError(f"the mesh needs an axis named 'data', got {mesh.axis_names}; use data_mesh()")
    return NamedSharding(mesh, PartitionSpec("data") if batches == 1 else PartitionSpec(None, "data"))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Put a whole copy of every array on every device of the mesh.

    Raises:
      TypeError: if `mesh` is not a mesh.
    """
    return jax.device_put(tree, replicated(require_mesh(mesh, "replicate")))


def shard_batch(batch: Mapping[str, chex.Array], mesh: Mesh, *, batches: int = 1) -> Batch:
    """Divide a batch over the mesh; an array that lies right already is returned as it is.

    The examples are the first axis, or the second if the first counts `batches`.

    With several hosts (`jax.distributed`), each gives its own examples: the global batch is all
    of theirs together, in the order of the processes.

    Raises:
      TypeError: if the batch is not a mapping of arrays, or the mesh not a mesh.
      ValueError: if the examples do not divide over the devices.
    """
    require_integer(batches, "shard_batch: batches")
    require_batch(batch)
    require_mesh(mesh, "shard_batch")
    sharding = data_sharding(mesh, batches=batches)
    if all(isinstance(value, jax.Array) and value.sharding == sharding for value in batch.values()):
        return {name: jnp.asarray(value) for name, value in batch.items()}
    check_divides(batch, mesh, batches=batches, processes=jax.process_count())
    if jax.process_count() == 1:
        return jax.device_put(dict(batch), sharding)
    return {name: jax.make_array_from_process_local_data(sharding, np.asarray(value)) for name, value in batch.items()}


def padded(batch: Batch, mesh: Mesh, *, batches: int = 1) -> Batch:
    """Return a batch whose examples divide over the devices: copies of the last one, with weight zero, follow them.

    A batch whose entries disagree in the number of examples, so that one row of weights cannot be of all, stays as
    it is. The examples are the first axis, or the second if the first counts `batches`.
    """
    axis = 0 if batches == 1 else 1
    shapes = {leaf.shape[: axis + 1] for leaf in jax.tree.leaves(dict(batch))}
    if len(shapes) != 1:
        return batch
    (shape,) = shapes
    more = -shape[axis] % mesh.shape["data"]
    if not more:
        return batch

    def longer(leaf: Array) -> Array:
        last = jax.lax.index_in_dim(leaf, -1, axis)
        return jnp.concatenate([leaf, jnp.repeat(last, more, axis)], axis)

    weights = batch[WEIGHTS] if WEIGHTS in batch else jnp.ones(shape, jnp.result_type(float))
    return {**jax.tree.map(longer, dict(batch)), WEIGHTS: jnp.pad(weights, [(0, 0)] * axis + [(0, more)])}


def check_divides(batch: Mapping[str, chex.Array], mesh: Mesh, *, batches: int = 1, processes: int = 1) -> None:
    """Check that the examples of a batch, or of several `batches`, divide over this process's devices.

    The devices are shared equally among `processes`.

    Raises:
      ValueError: if not; the message has the remainder.
    """
    devices = mesh.shape["data"] // processes
    for name, value in batch.items():
        examples = jax.tree.leaves(value)[0].shape[0 if batches == 1 else 1]
        if examples % devices:
            raise ValueError(
                f"{examples} examples of {name!r} do not divide over the {devices} devices of axis 'data' "
                f"(remainder {examples % devices}); choose a batch size that is a multiple of {devices}"
            )
