"""A mesh of devices, and the examples of a minibatch divided over it."""

from __future__ import annotations

__all__ = [
    "check_divides",
    "data_sharding",
    "example_axes",
    "make_mesh",
    "over",
    "padded",
    "replicated",
    "require_mesh",
    "shard_batch",
    "share",
]

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vifx.checks import require, require_batch, require_integer
from vifx.core.examples import WEIGHTS
from vifx.core.types import EXAMPLE_AXES, Array, Batch


def make_mesh(devices: Sequence[Any] | None = None, *, data: int | None = None, fsdp: int = 1) -> Mesh:
    """Return a mesh over all devices of all processes, or over these, in the order of the processes.

    The examples of a minibatch are divided over both axes, and the arrays of the train state over the axis ``fsdp``,
    where a rule divides them (`fsdp`).

    Args:
      devices: some of `jax.devices()`.
      data: the size of the axis ``data``; by default what the other one leaves.
      fsdp: the size of the axis ``fsdp``; with 1, the mesh has the axis ``data`` alone.

    Raises:
      TypeError: if `devices` are not devices, or a size is not an integer.
      ValueError: if the sizes do not fit the number of devices.

    >>> make_mesh().shape["data"] == jax.device_count()
    True
    """
    if devices is not None:
        fix = "give some of jax.devices()"
        for device in require(devices, Sequence, "make_mesh: devices", "a sequence of devices", fix):
            require(device, jax.Device, "make_mesh: devices", "a sequence of devices", fix)
    found = sorted(jax.devices() if devices is None else devices, key=lambda device: (device.process_index, device.id))
    require_integer(fsdp, "make_mesh: fsdp")
    if data is not None:
        require_integer(data, "make_mesh: data")
    if len(found) % fsdp or (data is not None and data * fsdp != len(found)):
        sizes = f"fsdp={fsdp}" if data is None else f"data={data} and fsdp={fsdp}"
        raise ValueError(
            f"make_mesh: {sizes} must make up the {len(found)} devices that are there; give sizes whose product is "
            f"{len(found)}, or some of the devices"
        )
    shape, names = ((len(found),), ("data",)) if fsdp == 1 else ((len(found) // fsdp, fsdp), ("data", "fsdp"))
    return Mesh(np.array(found, object).reshape(shape), names, axis_types=(AxisType.Auto,) * len(names))


def require_mesh(mesh: Mesh, caller: str) -> Mesh:
    """Return a mesh, checked for a `caller`, with axes whose sharding the compiler propagates (``AxisType.Auto``).

    The axes of `jax.make_mesh` are explicit by default: then every operation would have to say how its result lies.

    Raises:
      TypeError: if it is something else.
      ValueError: if it has no axis ``data``.
    """
    require(mesh, Mesh, f"{caller}: mesh", "a jax.sharding.Mesh", "make one with training.make_mesh()")
    if "data" not in mesh.axis_names:
        raise ValueError(f"{caller}: the mesh needs an axis named 'data', got {mesh.axis_names}; use make_mesh()")
    auto = (AxisType.Auto,) * len(mesh.axis_names)
    return mesh if mesh.axis_types == auto else Mesh(mesh.devices, mesh.axis_names, axis_types=auto)


def over(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Say to what is traced inside which mesh it is for: draws are divided over it, and networks know its devices."""
    return nullcontext() if mesh is None else jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of an array that lies whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def example_axes(mesh: Mesh) -> tuple[str, ...]:
    """Return the axes of a mesh over which the examples are divided: ``data``, and ``fsdp`` if it has one."""
    return tuple(name for name in EXAMPLE_AXES if name in mesh.axis_names)


def share(mesh: Mesh) -> int:
    """Return into how many parts the examples are divided."""
    return math.prod(mesh.shape[axis] for axis in example_axes(mesh))


def data_sharding(mesh: Mesh, *, batches: int = 1) -> NamedSharding:
    """Return the sharding of a batch: its axis of examples divided over the mesh.

    That is its first axis, or its second if the first counts `batches`.
    """
    axes = example_axes(mesh)
    return NamedSharding(mesh, PartitionSpec(axes) if batches == 1 else PartitionSpec(None, axes))


def shard_batch(batch: Mapping[str, chex.Array], mesh: Mesh, *, batches: int = 1) -> Batch:
    """Divide a batch over the mesh; an array that lies right already is returned as it is.

    The examples are the first axis, or the second if the first counts `batches`.

    With several processes, each gives its own examples: the global batch is all of theirs together, in the order of
    the processes.

    Raises:
      TypeError: if the batch is not a mapping of arrays, or the mesh not a mesh.
      ValueError: if the examples do not divide over the devices, or the mesh has no axis ``data``.
    """
    require_integer(batches, "shard_batch: batches")
    require_batch(batch)
    mesh = require_mesh(mesh, "shard_batch")
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
    more = -shape[axis] % share(mesh)
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
    devices = share(mesh) // processes
    axes = " and ".join(repr(axis) for axis in example_axes(mesh))
    word = "axis" if len(example_axes(mesh)) == 1 else "axes"
    for name, value in batch.items():
        examples = jax.tree.leaves(value)[0].shape[0 if batches == 1 else 1]
        if examples % devices:
            raise ValueError(
                f"{examples} examples of {name!r} do not divide over the {devices} devices of {word} {axes} "
                f"(remainder {examples % devices}); choose a batch size that is a multiple of {devices}"
            )
