"""The mesh that a config asks for."""

from __future__ import annotations

__all__ = ["mesh_of"]

import math
import re
from typing import TYPE_CHECKING

import jax
from jax.sharding import Mesh

from vifx.checks import ArgumentError
from vifx.experiment.rules import AXIS
from vifx.training.sharding import make_mesh

if TYPE_CHECKING:
    from vifx.experiment.config import Config


def mesh_of(config: Config) -> Mesh | None:
    """Return the mesh that a config asks for, or None for one device.

    Without one a single process has one device, and several processes have the examples divided over all of theirs.

    Raises:
      ValueError: if there are fewer devices, or several processes do not take all of theirs.
    """
    if config.mesh is None:
        return make_mesh() if jax.process_count() > 1 else None
    sizes = {name: int(size) for name, size in re.findall(AXIS, config.mesh)}
    count, there = math.prod(sizes.values()), jax.device_count()
    if count > there or (count < there and jax.process_count() > 1):
        rule = f"must make up at most the {there} devices that are there"
        if jax.process_count() > 1:
            rule = f"must make up the {there} devices of the {jax.process_count()} processes"
        sentence = f"{rule}; got {config.mesh}, which are {count}"
        if jax.default_backend() == "cpu" and jax.process_count() == 1:
            sentence += f" (virtual CPU devices: XLA_FLAGS=--xla_force_host_platform_device_count={count})"
        raise ArgumentError("mesh", sentence, value=config.mesh, owner=config)
    if count == 1 and jax.process_count() == 1:
        return None
    return make_mesh(jax.devices()[:count], data=sizes.get("data", 1), fsdp=sizes.get("fsdp", 1))
