"""The options of the commands that an experiment file adds its own to."""

from __future__ import annotations

__all__ = ["CompileOptions", "ExplainOptions", "SweepOptions", "TrainOptions"]

from dataclasses import dataclass
from pathlib import Path

import tyro

from vifx.experiment.rules import PositiveInt, validate


@dataclass(frozen=True)
class TrainOptions:
    """The options of `vifx train` besides the experiment's own."""

    run: Path | None = None
    """Directory of the run; default runs/<experiment>-<date>-<time>."""
    distributed: str = "auto"
    """The processes that make this run together: `auto` asks the launcher (SLURM, Open MPI, SkyPilot, a TPU pod, or
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID), `off` is this one alone, and HOST:PORT,COUNT,INDEX
    says where process 0 listens, how many there are, and which this one is."""
    allow_download: bool = False
    """Fetch the data set from the network if it is not prepared (as --data.allow-download)."""
    profile: bool = False
    """Write a trace of a few updates into RUN/profile, for TensorBoard and Perfetto, before training begins."""
    debug_checks: bool = False
    """If a number is not finite, find the operation and the factor that made it; show full tracebacks."""


@dataclass(frozen=True)
class CompileOptions:
    """The options of `vifx compile` besides the experiment's own."""

    topology: str | None = None
    """What to compile for, which need not be there: v5e-8, v5p:2x2x1, h200:8, cpu:8; default: this machine."""
    debug_checks: bool = False
    """Show full tracebacks."""


@dataclass(frozen=True)
class SweepOptions:
    """The options of `vifx sweep` besides the experiment's own."""

    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """OPTION=VALUE,VALUE,… of the experiment, such as latent=8,16; several of them are combined."""
    seeds: PositiveInt = 1
    """How many seeds, from 0 on, each combination is trained with."""
    jobs: PositiveInt = 1
    """How many runs at a time."""
    vmap_seeds: bool = False
    """Train the seeds of each combination together, as one program that is mapped over them: for small models."""
    run: Path | None = None
    """Folder of the runs; default runs/<experiment>-sweep. What is there already is gone on with."""
    debug_checks: bool = False
    """Show full tracebacks."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class ExplainOptions:
    """The options of `vifx explain` besides the experiment's own."""

    latex: bool = False
    """Print LaTeX, an align* body per part of the objective."""
    debug_checks: bool = False
    """Show full tracebacks."""
