"""The options of the commands that need no experiment file to know them: read before anything heavy is imported."""

from __future__ import annotations

__all__ = [
    "AnswerOptions",
    "CompletionOptions",
    "EvaluateOptions",
    "ExplainOptions",
    "PrepareOptions",
    "ResumeOptions",
    "SampleOptions",
    "TrainOptions",
    "answer_options",
    "completion_options",
    "evaluate_options",
    "prepare_options",
    "resume_options",
    "sample_options",
]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vifx.checks import nearest
from vifx.cli.parse import UsageError, parse
from vifx.experiment.rules import PositiveFloat, PositiveInt, validate

RunPath = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class ResumeOptions:
    """The options of `vifx resume`."""

    directory: RunPath
    """The run to continue."""
    steps: PositiveInt | None = None
    """Go on to this many updates in all; only more than before."""
    from_step: PositiveInt | None = None
    """Go on from the checkpoint of this update instead of the last."""
    change_schedule: bool = False
    """Go on to --steps although a schedule of the experiment reads them: the result is not that of one run."""
    trust: bool = False
    """Run the experiment file that the run names, wherever it lies; see the page on runs from others."""
    debug_checks: bool = False
    """Stop at the first NaN that an operation produces, and show full tracebacks; slow."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of `vifx evaluate`."""

    directory: RunPath
    """The run to measure."""
    step: PositiveInt | None = None
    """Measure the checkpoint of this update instead of the best one or the last."""
    trust: bool = False
    """Run the experiment file that the run names, wherever it lies and even if it has changed."""
    debug_checks: bool = False
    """Show full tracebacks."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class SampleOptions:
    """The options of `vifx sample`."""

    directory: RunPath
    """The run to draw from."""
    step: PositiveInt | None = None
    """Draw from the checkpoint of this update instead of the best one or the last."""
    n: PositiveInt = 64
    """How many images."""
    temperature: PositiveFloat = 1.0
    """Scales the standard deviation of the prior."""
    columns: PositiveInt | None = None
    """Columns of the grid; as many as rows if not given."""
    seed: int = 0
    """Another seed gives other images."""
    out: Path | None = None
    """PNG file to write; default RUN/figures/samples-<n>-<temperature>-<seed>.png."""
    trust: bool = False
    """Run the experiment file that the run names, wherever it lies and even if it has changed."""
    debug_checks: bool = False
    """Show full tracebacks."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class AnswerOptions:
    """The options of `vifx answer`."""

    directory: RunPath
    """The run that reads."""
    question: str
    """What to answer."""
    passages: tuple[Path, ...]
    """Text files, one a passage."""
    best: PositiveInt = 3
    """How many answers to show at most."""
    json: bool = False
    """Print one line of JSON: the answers with their scores, passages and characters."""
    step: PositiveInt | None = None
    """Read with the checkpoint of this update instead of the best one or the last."""
    trust: bool = False
    """Run the experiment file that the run names, wherever it lies and even if it has changed."""
    debug_checks: bool = False
    """Show full tracebacks."""

    def __post_init__(self) -> None:
        validate(self)


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
class TrainOptions:
    """The options of `vifx train` besides the experiment's own."""

    run: Path | None = None
    """Directory of the run; default runs/<experiment>-<date>-<time>."""
    allow_download: bool = False
    """Fetch the data set from the network if it is not prepared (as --data.allow-download)."""
    debug_checks: bool = False
    """Stop at the first NaN that an operation produces, and show full tracebacks; slow."""


@dataclass(frozen=True)
class ExplainOptions:
    """The options of `vifx explain` besides the experiment's own."""

    latex: bool = False
    """Print LaTeX, an align* body per part of the objective."""
    debug_checks: bool = False
    """Show full tracebacks."""


@dataclass(frozen=True)
class CompletionOptions:
    """The options of `vifx completion`."""

    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh", "fish"]], tyro.conf.arg(metavar="SHELL")]
    """Whose script to print; its start-up file evaluates it."""


def resume_options(arguments: Sequence[str]) -> ResumeOptions:
    """Read the arguments of `vifx resume`.

    Raises:
      UsageError: if they are wrong.
    """
    return parse(ResumeOptions, arguments, prog="vifx resume", description="Continue a run, bit for bit.")


def evaluate_options(arguments: Sequence[str]) -> EvaluateOptions:
    """Read the arguments of `vifx evaluate`.

    Raises:
      UsageError: if they are wrong.
    """
    return parse(EvaluateOptions, arguments, prog="vifx evaluate", description="Measure a run again.")


def sample_options(arguments: Sequence[str]) -> SampleOptions:
    """Read the arguments of `vifx sample`.

    Raises:
      UsageError: if they are wrong.
    """
    return parse(SampleOptions, arguments, prog="vifx sample", description="Draw images from a trained model.")


def answer_options(arguments: Sequence[str]) -> AnswerOptions:
    """Read the arguments of `vifx answer`.

    Raises:
      UsageError: if they are wrong.
    """
    return parse(AnswerOptions, arguments, prog="vifx answer", description="Answer a question from passages.")


def prepare_options(arguments: Sequence[str]) -> PrepareOptions:
    """Read the arguments of `vifx data`, which begin with "prepare".

    Raises:
      UsageError: if they do not, or are wrong.
    """
    if arguments[:1] != ["prepare"]:
        found = arguments[0] if arguments else ""
        near = nearest(found, ["prepare"], cutoff=0.5) if found else ""
        raise UsageError(f"vifx data needs what to do, 'prepare'; got {found!r}{near} (vifx data prepare NAME)")
    return parse(
        PrepareOptions, arguments[1:], prog="vifx data prepare", description="Prepare a data set for training."
    )


def completion_options(arguments: Sequence[str]) -> CompletionOptions:
    """Read the arguments of `vifx completion`.

    Raises:
      UsageError: if they are wrong.
    """
    return parse(
        CompletionOptions,
        arguments,
        prog="vifx completion",
        description='Print a script for a shell: eval "$(vifx completion bash)" in its start-up file.',
    )
