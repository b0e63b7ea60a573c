"""The seeds of a combination of options as one program, each a run of its own."""

from __future__ import annotations

__all__ = ["saved_steps", "set_aside", "train_together"]

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from vifx import training
from vifx.cli.file_options import TrainOptions
from vifx.cli.finish import finish
from vifx.cli.prepare import build, failures, mistakes, parse_experiment
from vifx.experiment import Experiment
from vifx.experiment.building import fit_runs, saved_state
from vifx.experiment.config import recording
from vifx.experiment.file import ExperimentFile
from vifx.experiment.run import Run, create, open_run
from vifx.experiment.sweep import Point, Sweep, combinations
from vifx.training import Diverged


def train_together(
    sweep: Sweep, file: ExperimentFile, given: Sequence[str], console: Console
) -> tuple[list[Point], list[Point]]:
    """Train the seeds of every combination together, and return the runs that must go on alone, and those that failed.

    Runs that were stopped go on from the last checkpoint that all of a combination have; without one, as after one of
    them has diverged, they go on alone.

    Raises:
      UsageError: if the runs of a combination differ by more than their seeds.
      Interrupted: after a signal, when all are saved.
    """
    alone: list[Point] = []
    failed: list[Point] = []
    for values in combinations(sweep.points):
        points = [point for point in sweep.points if point.values == values]
        points = [point for point in points if not (sweep.run(point) / "results.json").is_file()]
        common = set.intersection(*(set(saved_steps(sweep.run(point))) for point in points)) if points else set()
        if len(points) < 2 or (not common and any(saved_steps(sweep.run(point)) for point in points)):
            alone += points
            continue
        console.print(f"{', '.join(point.name for point in points)}: begun together", markup=False)
        with mistakes(file):
            runs = [_opened(sweep.run(point), file, given, point) for point in points]
        with failures(file):
            begin = partial(_create, runs) if not common else lambda: None
            found = fit_runs(runs, begin=begin, observe="progress", from_step=max(common, default=None))
            for point, (run, built), ended in zip(points, runs, found, strict=True):
                if isinstance(ended, Diverged):
                    console.print(f"{point.name}: failed: {ended}", markup=False)
                    failed.append(point)
                else:
                    _finish(sweep, point, run, built)
                    console.print(f"{point.name}: complete", markup=False)
    return alone, failed


def _opened(directory: Path, file: ExperimentFile, given: Sequence[str], point: Point) -> tuple[Run, Experiment]:
    if saved_steps(directory):
        run = open_run(directory)
        return run, build(run.file, run.config)
    _, config, _ = parse_experiment([str(file.path), *given, *point.options], "train", TrainOptions)
    watched, read = recording(config)
    built = build(file, watched, read=read)
    return Run(directory, file, config, reads_steps="steps" in read).continued(at=0), built


def _create(runs: Sequence[tuple[Run, Experiment]]) -> None:
    for run, _ in runs:
        set_aside(run.directory)
        create(run)


def _finish(sweep: Sweep, point: Point, run: Run, built: Experiment) -> None:
    """Measure a run and draw it; what is said of it goes into its log."""
    with (sweep.directory / f"{point.name}.log").open("a", encoding="utf-8") as log:
        finish(run, built, training.evaluated(saved_state(run, built)), Console(file=log, width=200))


def saved_steps(directory: Path) -> list[int]:
    """Return the updates of which a run has a checkpoint."""
    return [int(path.parent.name) for path in (directory / "checkpoints").glob("[0-9]*/manifest")]


def set_aside(directory: Path) -> None:
    """Rename the directory of a run, if there is one, that ended before it had saved anything."""
    if directory.exists():
        aside = (directory.with_name(f"{directory.name}.without-checkpoint-{n}") for n in range(1, 1000))
        directory.rename(next(path for path in aside if not path.exists()))
