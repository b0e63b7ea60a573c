"""Where the train state lies on a mesh: each array by a rule, whole on every device or divided over an axis."""

from __future__ import annotations

__all__ = ["Fsdp", "Layout", "Rule", "fsdp", "local", "put", "replicate"]

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from vifx.checks import require, require_function, require_integer
from vifx.core.types import Array, PyTree
from vifx.training.sharding import replicated, require_mesh

Rule: TypeAlias = Callable[[str, tuple[int, ...]], PartitionSpec]
"""``(path, shape) -> PartitionSpec``: how one array of a train state is divided over the axes of a mesh.

The path is that of `jax.tree_util.keystr`, such as ``".params['decoder']['kernel']"``; the moments of an optimizer, the
averages and the anchors have the paths of the parameters behind those of the slot.
"""


def _whole(path: str, shape: tuple[int, ...]) -> PartitionSpec:
    """Return the rule's answer that an array lies whole on every device, whatever its path and shape."""
    del path, shape
    return PartitionSpec()


@dataclass(frozen=True)
class Fsdp:
    """The rule that `fsdp` returns; equal ones share their compiled programs.

    Attributes:
      size: of the axis ``fsdp``.
      minimum: in bytes, of single precision.
    """

    size: int
    minimum: int

    def __call__(self, path: str, shape: tuple[int, ...]) -> PartitionSpec:
        """Return how an array of this shape is divided; its path does not matter."""
        del path
        fitting = [(length, -axis) for axis, length in enumerate(shape) if length % self.size == 0]
        if not fitting or 4 * math.prod(shape) < self.minimum:
            return PartitionSpec()
        axis = -max(fitting)[1]
        return PartitionSpec(*[None] * axis, "fsdp")


def fsdp(mesh: Mesh, *, minimum: int = 4 << 20) -> Fsdp:
    """Return the rule that divides large arrays of the train state over the axis ``fsdp`` of a mesh.

    An array is divided along its longest axis that the axis ``fsdp`` divides, the first of equals, and lies whole on
    every device where there is none or it is small. So parameters, the moments of an optimizer, averages and anchors
    take a share of a device's memory; the compiled step collects a parameter where it is used, and adds up each share
    of the gradients where it lies. Fully sharded data parallelism (Rajbhandari et al., ZeRO, 2020).

    Args:
      mesh: with an axis ``fsdp``.
      minimum: the smallest array that is divided, in bytes of single precision.

    Raises:
      TypeError: if `mesh` is not a mesh, or `minimum` not an integer.
      ValueError: if the mesh has no axis ``fsdp``, or `minimum` is negative.
    """
    require_mesh(mesh, "fsdp")
    require_integer(minimum, "fsdp: minimum", least=0)
    if "fsdp" not in mesh.axis_names:
        raise ValueError(f"fsdp: the mesh needs an axis named 'fsdp', got {mesh.axis_names}; use make_mesh(fsdp=2)")
    return Fsdp(mesh.shape["fsdp"], minimum)


class Layout(NamedTuple):
    """How the arrays of a run lie on a mesh; a static argument of compiled programs.

    Attributes:
      mesh: the devices.
      rule: how each array of the train state is divided over them.
    """

    mesh: Mesh
    rule: Rule

    @classmethod
    def checked(cls, mesh: Mesh | None, rule: Rule | None, caller: str) -> Layout | None:
        """Return the layout for a `caller`; None without a mesh. Without a rule, an axis ``fsdp`` has `fsdp`.

        Raises:
          TypeError: if `mesh` is not a mesh, or `rule` not a function.
          ValueError: if the mesh has no axis ``data`` or leaves a process out, or there is a rule without a mesh.
        """
        if rule is not None:
            require_function(rule, f"{caller}: sharding", "(path, shape) -> PartitionSpec, such as training.fsdp(mesh)")
        if mesh is None:
            if rule is not None:
                raise ValueError(f"{caller}: sharding needs the mesh that it divides arrays over; give mesh=")
            if jax.process_count() > 1:
                raise ValueError(
                    f"{caller}: {jax.process_count()} processes need a mesh of all their devices; give "
                    "mesh=training.make_mesh()"
                )
            return None
        mesh = require_mesh(mesh, caller)
        processes = {device.process_index for device in mesh.devices.flat}
        if len(processes) < jax.process_count():
            raise ValueError(
                f"{caller}: the mesh has devices of {len(processes)} of {jax.process_count()} processes; a mesh needs "
                "devices of each, as training.make_mesh() has them"
            )
        if rule is None:
            rule = fsdp(mesh) if "fsdp" in mesh.axis_names else _whole
        return cls(mesh, rule)

    def shardings(self, tree: PyTree) -> PyTree:
        """Return the sharding of every leaf of a train state.

        Raises:
          TypeError: if the rule returns something else than a PartitionSpec.
          ValueError: if the array cannot be divided so.
        """
        return jax.tree_util.tree_map_with_path(self._of, tree)

    def _of(self, path: Any, leaf: Any) -> NamedSharding:
        name, shape = jax.tree_util.keystr(path), tuple(leaf.shape)
        spec = self.rule(name, shape)
        said = f"sharding: the rule's answer for {name} of shape {shape}"
        require(spec, PartitionSpec, said, "a PartitionSpec", "PartitionSpec() leaves an array whole")
        if len(spec) > len(shape):
            raise ValueError(f"{said} is {spec}, which has more entries than the array has axes")
        for length, axes in zip(shape, spec, strict=False):
            names = axes if isinstance(axes, tuple) else () if axes is None else (axes,)
            for axis in names:
                if axis not in self.mesh.axis_names:
                    raise ValueError(f"{said} names an axis {axis!r}, and the mesh has {self.mesh.axis_names}")
            size = math.prod(self.mesh.shape[axis] for axis in names)
            if length % size:
                raise ValueError(f"{said} is {spec}, and {length} does not divide over {size} devices")
        return NamedSharding(self.mesh, spec)

    def place(self, tree: PyTree) -> PyTree:
        """Put a train state where it belongs; what lies right already is returned as it is."""
        return put(tree, self.shardings(tree))

    def hold(self, tree: PyTree) -> PyTree:
        """Keep a train state where it belongs, inside a compiled program."""
        return jax.lax.with_sharding_constraint(tree, self.shardings(tree))


def put(tree: PyTree, shardings: PyTree) -> PyTree:
    """Put arrays, of which each process has the same whole values, on devices, of several processes too."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    return jax.tree.map(_leaf_placed, tree, shardings)


def _leaf_placed(leaf: Any, sharding: Sharding) -> Array:
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return jax.jit(lambda array: array, out_shardings=sharding)(leaf)
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        data = _leaf_placed(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Put a whole copy of every array on every device of the mesh.

    With several processes each has the same values, which are not compared.

    Raises:
      TypeError: if `mesh` is not a mesh.
      ValueError: if it has no axis ``data``.
    """
    everywhere = replicated(require_mesh(mesh, "replicate"))
    return put(tree, jax.tree.map(lambda _: everywhere, tree))


def local(tree: PyTree) -> PyTree:
    """Return whole arrays on a device of this process; all processes of a run call it together."""
    return jax.tree.map(_leaf_local, tree)


def _leaf_local(leaf: Any) -> Array:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return leaf
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_leaf_local(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    mesh = require(leaf.sharding, NamedSharding, "local: the sharding of an array", "one of a mesh", "use a mesh").mesh
    everywhere = _leaf_placed(leaf, NamedSharding(mesh, PartitionSpec()))
    return everywhere.addressable_data(0)
