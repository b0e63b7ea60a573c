"""The options of the commands that need no experiment file to know them: read before anything heavy is imported."""

from __future__ import annotations

__all__ = [
    "AnswerOptions",
    "BenchmarkOptions",
    "CertifyOptions",
    "CompareOptions",
    "CompletionOptions",
    "CopyOptions",
    "EvaluateOptions",
    "ExportOptions",
    "NewOptions",
    "PrepareOptions",
    "ResumeOptions",
    "SampleOptions",
    "SavedOptions",
    "VerifyOptions",
    "WatchOptions",
    "read_options",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import tyro

from vifx.checks import nearest
from vifx.cli.parse import UsageError, parse
from vifx.experiment.rules import MeshAxes, NonNegativeInt, PositiveFloat, PositiveInt, Rule, validate

RunPath = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """The options of `vifx resume`."""

    directory: RunPath
    """The run to continue."""
    steps: PositiveInt | None = None
    """Go on to this many updates in all; only more than before."""
    from_step: PositiveInt | None = None
    """Go on from the checkpoint of this update instead of the last."""
    mesh: MeshAxes | None = None
    """Devices to go on with, such as `data=8` or `data=4,fsdp=2`; as before if not given."""
    distributed: str = "auto"
    """The processes that make this run together: `auto` asks the launcher (SLURM, Open MPI, SkyPilot, a TPU pod, or
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID), `off` is this one alone, and HOST:PORT,COUNT,INDEX
    says where process 0 listens, how many there are, and which this one is."""
    change_schedule: bool = False
    """Go on to --steps although a schedule of the experiment reads them: the result is not that of one run."""
    trust: bool = False
    """Run the experiment file that the run names, wherever it lies; see the page on runs from others."""
    debug_checks: bool = False
    """If a number is not finite, find the operation and the factor that made it; show full tracebacks."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class SavedOptions:
    """The options of every command that reads a checkpoint of a run and writes none."""

    directory: RunPath
    """The run."""
    step: PositiveInt | Literal["best", "last"] = "best"
    """Which checkpoint: the best one (the last, if the run keeps no best), the last one, or that of an update."""
    trust: bool = False
    """Run the experiment file that the run names, wherever it lies and even if it has changed."""
    debug_checks: bool = False
    """Show full tracebacks."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(SavedOptions):
    """The options of `vifx evaluate`."""


@dataclass(frozen=True, kw_only=True)
class SampleOptions(SavedOptions):
    """The options of `vifx sample`."""

    n: PositiveInt = 64
    """How many."""
    temperature: PositiveFloat = 1.0
    """Scales the standard deviation of the prior."""
    columns: PositiveInt | None = None
    """Columns of the grid; as many as rows if not given."""
    seed: int = 0
    """Another seed gives other draws."""
    out: Path | None = None
    """File to write: NAME.png of images, NAME.npy of their values or of whatever else the model draws; by default
    samples-<n>-<temperature>-<seed> in the run."""


@dataclass(frozen=True, kw_only=True)
class CertifyOptions(SavedOptions):
    """The options of `vifx certify`."""

    examples: PositiveInt = 100
    """How many examples of the test split."""
    simulations: PositiveInt | None = None
    """How many examples are drawn from the model to check both bounds; half as many, but 20 at least, if not given."""
    temperatures: PositiveInt = 300
    """Moves of a chain: the more, the closer the bounds."""
    chains: PositiveInt = 16
    """Chains of each example, an even number."""
    leapfrog: PositiveInt = 5
    """Leapfrog steps of a move."""
    start: Literal["encoder", "prior"] | None = None
    """Where chains start; the encoder, if it has densities, if not given."""
    noise: PositiveFloat | None = None
    """σ of N(G(z), σ² I) for a generator G, which has no density of its own, in units of x as the model sees it."""
    confidence: Annotated[float, Rule("a number in (0, 1)", lambda value: 0 < value < 1)] = 0.95
    """Of the interval."""
    widest: PositiveFloat = 1.0
    """Width in nats above which the interval is called unreliable."""
    seed: NonNegativeInt = 0
    """Another seed gives other draws."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions(SavedOptions):
    """The options of `vifx export`."""

    out: Path | None = None
    """File to write; default RUN/export.zip."""
    samples: PositiveInt = 64
    """Draws for each example of the importance-weighted bound, where the likelihood is not exact."""
    examples: PositiveInt | None = None
    """How many examples each function takes; any number if not given."""


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(SavedOptions):
    """The options of `vifx answer`."""

    question: str
    """What to answer."""
    passages: tuple[Path, ...]
    """Text files, one a passage."""
    best: PositiveInt = 3
    """How many answers to show at most."""
    json: bool = False
    """Print one line of JSON: the answers with their scores, passages and characters."""


@dataclass(frozen=True)
class PrepareOptions:
    """The options of `vifx data prepare`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Which data set; vifx list shows the names."""
    source: str | None = None
    """A folder of raw files to prepare it from."""
    directory: str | None = None
    """Where prepared data goes; default $VIFX_DATA or the user's cache."""
    allow_download: bool = False
    """Fetch it from the network."""


@dataclass(frozen=True)
class CompareOptions:
    """The options of `vifx compare`."""

    directories: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN RUN …")]
    """The runs."""
    metric: str | None = None
    """What to draw; the loss on the validation split if it was logged."""
    out: Path | None = None
    """A picture of the metric over the updates of each run."""


@dataclass(frozen=True)
class CopyOptions:
    """The options of `vifx copy`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Which experiment that came with vifx; vifx list shows the names."""
    out: Path | None = None
    """File to write; default NAME.py here. A file that is there is not overwritten."""


@dataclass(frozen=True)
class NewOptions:
    """The options of `vifx new`."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """What the experiment is called."""
    out: Path | None = None
    """File to write; default NAME.py here. A file that is there is not overwritten."""


@dataclass(frozen=True)
class VerifyOptions:
    """The options of `vifx checkpoint verify`."""

    directory: RunPath
    """The run."""
    step: PositiveInt | None = None
    """Only the checkpoint of this update."""


@dataclass(frozen=True)
class WatchOptions:
    """The options of `vifx watch`."""

    directory: RunPath
    """The run."""
    port: Annotated[int, Rule("a port, from 0 to 65535", lambda value: 0 <= value < 65536)] = 8765
    """Where the page is on this machine; 0 for any port that is free."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class BenchmarkOptions:
    """The options of `vifx benchmark`."""

    suite: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")]
    """Which benchmark, such as digits or fashion_mnist, or a TOML file of one's own; vifx list shows the names."""
    minutes: PositiveFloat = 10.0
    """How long each model trains at most; compilation and evaluation are not counted."""
    seeds: PositiveInt = 1
    """How many seeds, from 0 on, each model is trained with."""
    families: tuple[str, ...] = ()
    """Which families to train (none given: all of them)."""
    run: Path | None = None
    """Folder of the runs; default runs/benchmark-NAME. What is there already is gone on with."""
    debug_checks: bool = False
    """Show full tracebacks."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class CompletionOptions:
    """The options of `vifx completion`."""

    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh", "fish"]], tyro.conf.arg(metavar="SHELL")]
    """Whose script to print; its start-up file evaluates it."""


_READ: Mapping[str, tuple[type, str]] = MappingProxyType(
    {
        "resume": (ResumeOptions, "Continue a run, bit for bit."),
        "evaluate": (EvaluateOptions, "Measure a run again."),
        "sample": (SampleOptions, "Draw images from a trained model."),
        "certify": (CertifyOptions, "Bound log q(x) of the test split from both sides."),
        "export": (ExportOptions, "Write a trained model as one file that plain JAX can run."),
        "answer": (AnswerOptions, "Answer a question from passages."),
        "compare": (CompareOptions, "Show runs side by side; nothing of an experiment is executed."),
        "benchmark": (BenchmarkOptions, "Train families of models for the same time, and compare them in one table."),
        "watch": (WatchOptions, "Show a run that is under way in a browser."),
        "checkpoint": (VerifyOptions, "Read every checkpoint of a run, and say which are what was written."),
        "copy": (CopyOptions, "Write an experiment that came with vifx as a file to edit."),
        "new": (NewOptions, "Write an experiment that runs as it is, to be edited."),
        "data": (PrepareOptions, "Prepare a data set for training."),
        "completion": (
            CompletionOptions,
            'Print a script for a shell: eval "$(vifx completion bash)" in its start-up file.',
        ),
    }
)
"""By command: its options, and what its help says."""
_DONE_TO: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"data": ("prepare", "NAME"), "checkpoint": ("verify", "RUN")}
)
"""By command of two words: the second one, and what follows it."""


def read_options(command: str, arguments: Sequence[str]) -> Any:
    """Read the arguments of a command whose options are known without an experiment file.

    Args:
      command: such as "resume"; the arguments of "data" begin with "prepare", those of "checkpoint" with "verify".

    Raises:
      UsageError: if they are wrong.
    """
    options, description = _READ[command]
    if command in _DONE_TO:
        verb, what = _DONE_TO[command]
        found = arguments[0] if arguments else ""
        if found != verb:
            near = nearest(found, [verb], cutoff=0.5) if found else ""
            usage = f"(vifx {command} {verb} {what})"
            raise UsageError(f"vifx {command} needs what to do, {verb!r}; got {found!r}{near} {usage}")
        command, arguments = f"{command} {verb}", arguments[1:]
    return parse(options, arguments, prog=f"vifx {command}", description=description)
