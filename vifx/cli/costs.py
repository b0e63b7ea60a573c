"""The work of `vifx compile`, once JAX knows which devices there are."""

from __future__ import annotations

__all__ = ["print_costs"]

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vifx import data, training
from vifx.checks import ArgumentError
from vifx.cli.console import output
from vifx.cli.file_options import CompileOptions
from vifx.cli.parse import UsageError
from vifx.cli.prepare import build, failures, mistakes, parse_experiment
from vifx.experiment.building import run_key
from vifx.experiment.config import recording
from vifx.experiment.mesh import mesh_of
from vifx.experiment.rules import AXIS
from vifx.training.chunk import first_batch
from vifx.training.sharding import padded


def print_costs(arguments: Sequence[str]) -> None:
    """Print what one training step of an experiment costs each device; of its data only the shapes matter.

    Raises:
      UsageError: if the experiment cannot be built, or the topology is none.
      Failure: if the step cannot be compiled.
    """
    file, config, options = parse_experiment(arguments, "compile", CompileOptions)
    console = output()
    with mistakes(file, debug=options.debug_checks):
        there = config if options.topology is None else replace(config, mesh=None)
        watched, read = recording(replace(there, data=config.data.outlined()))
        built = build(file, watched, read=read)
        mesh = mesh_of(config) if options.topology is None else _mesh_on(options.topology, config.mesh)
        batch = first_batch(run_key(config), built.source)
        begin = partial(training.start, step=built.step, objective=built.objective)
        train_state = jax.eval_shape(begin, run_key(config), batch=batch)
        if built.step.batches > 1:
            batch = jax.eval_shape(partial(jax.tree.map, lambda leaf: jnp.stack([leaf] * built.step.batches)), batch)
        if mesh is not None and isinstance(built.source, data.Full):  # as the loop does
            batch = jax.eval_shape(partial(padded, mesh=mesh, batches=built.step.batches), batch)
    with failures(file, debug=options.debug_checks), console.status("compiling …"):
        found = training.cost(built.step, train_state, batch, mesh)
    examples = next(iter(jax.tree.leaves(batch))).shape[min(1, built.step.batches - 1)]
    console.print(f"{built.step.batches} × {examples} examples a step\n{found}", markup=False, highlight=False)


def _mesh_on(topology: str, axes: str | None) -> Mesh:
    """Return the mesh of all devices of a topology, with the sizes that ``--mesh`` says."""
    try:
        devices = training.topology(topology)
    except ArgumentError as error:
        raise UsageError(error.naming("--topology")) from error
    sizes = {name: int(size) for name, size in re.findall(AXIS, axes or "")}
    try:
        return training.make_mesh(devices, **sizes)
    except ValueError as error:
        raise UsageError(f"--mesh {str(error).removeprefix('make_mesh: ')}") from error
