"""What one call of a step costs each device, from its compiled program and without running it."""

from __future__ import annotations

__all__ = ["Cost", "Memory", "cost"]

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from vifx.checks import require
from vifx.core.types import Batch
from vifx.training.compile import lowered
from vifx.training.hlo import Collective, tally
from vifx.training.layout import Rule
from vifx.training.state import TrainState
from vifx.training.step import Step, require_step


class Memory(NamedTuple):
    """Bytes on each device while a step runs.

    Attributes:
      arguments: the train state and the batch.
      outputs: the train state after it, and the metrics.
      aliased: of the outputs, what takes the place of an argument, since the train state is donated.
      temporaries: everything in between.
      code: the program.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int

    @property
    def peak(self) -> int:
        """What must fit on the device: arguments, temporaries, code, and the outputs that alias no argument."""
        return self.arguments + self.outputs - self.aliased + self.temporaries + self.code


class Cost(NamedTuple):
    """What one call of a compiled step costs, on each device; printed, it is a table.

    Attributes:
      device: the kind of device that it is compiled for.
      devices: how many of them.
      memory: in bytes.
      flops: operations on floating-point numbers: a matrix product of ``[m, k]`` and ``[k, n]`` has ``2 m n k``, a
        convolution two for each product of a pixel and a weight, and anything else one for each element. A loop counts
        as often as it runs.
      matmul_flops: of these, matrix products and convolutions.
      bytes_accessed: read and written by operations that are not fused into others; caches are not counted.
      communication: what devices send each other, by kind of operation.
      loops: how many loops run an unknown number of times (until something converges); their bodies are counted once.
      opaque: names of library calls whose operations are not known, and not counted.
    """

    device: str
    devices: int
    memory: Memory
    flops: float
    matmul_flops: float
    bytes_accessed: float
    communication: Mapping[str, Collective]
    loops: int
    opaque: tuple[str, ...]

    @property
    def sent(self) -> float:
        """Bytes that each device sends in all, if the devices form a ring."""
        return sum(each.sent for each in self.communication.values())

    def __str__(self) -> str:
        memory = self.memory
        rows = [
            ("memory of each device", _bytes(memory.peak)),
            ("  arguments", _bytes(memory.arguments)),
            ("  outputs, not in place of arguments", _bytes(memory.outputs - memory.aliased)),
            ("  temporaries", _bytes(memory.temporaries)),
            ("  code", _bytes(memory.code)),
            ("operations of each device", _scaled(self.flops, "FLOP")),
            ("  of matrix products and convolutions", _scaled(self.matmul_flops, "FLOP")),
            ("bytes accessed by each device", _bytes(self.bytes_accessed)),
            ("bytes sent by each device", _bytes(self.sent)),
        ]
        for kind, (calls, size, sent, devices) in sorted(self.communication.items()):
            rows.append((f"  {kind}, {calls} × over {devices}", f"{_bytes(sent)} (of {_bytes(size)})"))
        wide = max(len(name) for name, _ in rows)
        lines = [f"one step on {self.devices} × {self.device}", *(f"{name:<{wide}}  {value}" for name, value in rows)]
        if self.loops:
            lines.append(f"counted once: the bodies of {self.loops} loops that run until something converges")
        if self.opaque:
            lines.append(f"not counted: {', '.join(self.opaque)}")
        return "\n".join(lines)


def cost(
    step: Step, train_state: TrainState, batch: Batch, mesh: Mesh | None = None, *, sharding: Rule | None = None
) -> Cost:
    """Compile one call of a step and say what it costs each device; nothing runs, and nothing need be there.

    The train state and the batch may be shapes, and the devices of the mesh those of a topology that this machine does
    not have (`jax.experimental.topologies`, `vifx compile`).

    Args:
      step: the training step.
      train_state: of `start`, or its shapes: ``jax.eval_shape(partial(start, key, step, objective), batch)``.
      batch: one minibatch, or its shapes; the examples are divided over the mesh.
      mesh: as for `compile`; by default the step is compiled for one device, the first.
      sharding: as for `compile`: how the arrays of the train state are divided over the mesh.

    Raises:
      TypeError: if `step` is not a step, `train_state` not a train state, or the mesh not a mesh.
      ValueError: if the examples do not divide over the mesh.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from vifx import training
      >>> from vifx.core.objective import Objective
      >>> from vifx.core.types import Aux
      >>> def loss(key, params, state, batch, *, train=True):
      ...     return jnp.mean((batch["x"] @ params["w"]) ** 2), Aux({}, state)
      >>> objective = Objective.of_loss(lambda key, batch: ({"w": jnp.ones((8, 3))}, {"w": {}}), loss, owns=["w"])
      >>> step = training.optimize(objective, optax.sgd(0.1))
      >>> batch = {"x": jnp.ones((64, 8))}
      >>> found = training.cost(step, training.start(jax.random.key(0), step, objective, batch), batch)
      >>> found.matmul_flops == 2 * (2 * 64 * 8 * 3)  # forward, and for the gradient
      True
    """
    require_step(step, "cost")
    require(train_state, TrainState, "cost: train_state", "a TrainState", "make one with training.start")
    compiled = lowered(step, train_state, batch, mesh, sharding=sharding).compile()
    device = jax.devices()[0] if mesh is None else mesh.devices.flat[0]
    devices = 1 if mesh is None else mesh.size
    counted = tally(compiled.as_text(), devices)
    return Cost(
        device=device.device_kind,
        devices=devices,
        memory=_memory(compiled.memory_analysis()),
        flops=counted.flops,
        matmul_flops=counted.matmul_flops,
        bytes_accessed=counted.bytes_accessed,
        communication=dict(sorted(counted.communication.items())),
        loops=counted.loops,
        opaque=tuple(sorted(counted.opaque)),
    )


def _memory(found: Any) -> Memory:
    return Memory(
        arguments=found.argument_size_in_bytes,
        outputs=found.output_size_in_bytes,
        aliased=found.alias_size_in_bytes,
        temporaries=found.temp_size_in_bytes,
        code=found.generated_code_size_in_bytes,
    )


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.2f} {unit}"
        count /= 1024
    return f"{count:,.2f} TiB"


def _scaled(count: float, unit: str) -> str:
    for prefix in ("", "k", "M", "G"):
        if count < 1000:
            return f"{count:,.4g} {prefix}{unit}"
        count /= 1000
    return f"{count:,.4g} T{unit}"
