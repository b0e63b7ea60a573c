"""`vifx sweep`: one run a point of a grid and a seed, each a `vifx train` of its own, that can be gone on with."""

from __future__ import annotations

__all__ = ["sweep_command"]

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from vifx.cli.console import output
from vifx.cli.file_options import SweepOptions, TrainOptions
from vifx.cli.parse import Failure, UsageError
from vifx.cli.prepare import build, mistakes, parse_experiment
from vifx.cli.seeds import saved_steps, set_aside, train_together
from vifx.cli.signals import Signals
from vifx.experiment.config import recording
from vifx.experiment.file import ExperimentFile, find
from vifx.experiment.rules import flat, to_json
from vifx.experiment.sweep import Point, Sweep, grid, summary, write_summary
from vifx.training import Interrupted

_OWN = ("--grid", "--seeds", "--jobs", "--run")
"""The options of `vifx sweep` that take a value."""


def sweep_command(arguments: Sequence[str], signals: Signals) -> None:
    """Train every point of a grid with every seed; the same command goes on with what was stopped.

    Raises:
      UsageError: if anything that was given is wrong; nothing has been written then.
      Failure: if runs have failed; the others are complete.
    """
    file, _, options = parse_experiment(arguments, "sweep", SweepOptions)
    if options.vmap_seeds and options.jobs > 1:
        raise UsageError(f"--jobs must be 1 with --vmap-seeds, which is one process; got {options.jobs}")
    axes = _axes(options.grid)
    points = grid(axes, range(options.seeds))
    given = _of_the_runs(arguments, file)
    sweep = Sweep(options.run or Path("runs") / f"{file.path.stem}-sweep", points)
    best = _checked(file, given, sweep)
    console = output()
    console.print(f"{len(points)} runs in {sweep.directory}, {options.jobs} at a time", markup=False)
    signals.say("interrupted; the runs are saved, and the same command goes on with them")
    alone, failed = list(points), []
    if options.vmap_seeds:
        try:
            alone, failed = train_together(sweep, file, given, console)
        except Interrupted as error:  # all of them are saved
            signals.number = error.signal
            raise KeyboardInterrupt from error
    failed += _train_all(sweep, alone, str(file.path), given, options.jobs, console)
    if any(row.runs for row in summary(sweep)):
        for path in write_summary(sweep, best):
            console.print(path, markup=False)
        console.print((sweep.directory / "sweep.md").read_text(encoding="utf-8"), markup=False)
    if failed:
        logs = ", ".join(str(sweep.directory / f"{point.name}.log") for point in failed)
        raise Failure(f"{len(failed)} of {len(points)} runs have failed: see {logs}; the same command tries them again")


def _axes(texts: Sequence[str]) -> dict[str, list[str]]:
    axes: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.removeprefix("--").partition("=")
        if not equals or not name or not all(values.split(",")):
            raise UsageError(f"--grid must be OPTION=VALUE,VALUE,…, such as latent=8,16; got {text!r}")
        if name == "seed":
            raise UsageError("--grid cannot hold seeds; give their number with --seeds")
        if name in axes:
            raise UsageError(f"--grid names {name} twice; give all of its values at once, as {name}=VALUE,VALUE")
        axes[name] = values.split(",")
    return axes


def _of_the_runs(arguments: Sequence[str], file: ExperimentFile) -> list[str]:
    """Return the arguments but for the file and the options of `vifx sweep` itself."""
    words, rest = iter(arguments), []
    for word in words:
        name, equals, _ = word.partition("=")
        if name in _OWN:
            if not equals:
                next(words, None)
        elif word != "--vmap-seeds" and (word.startswith("-") or find(word) != file.path):
            rest.append(word)
    return rest


def _checked(file: ExperimentFile, given: Sequence[str], sweep: Sweep) -> str | None:
    """Check the options of every run, and those that are there already; return the metric of the best checkpoint."""
    best = None
    for number, point in enumerate(sweep.points):
        _, config, _ = parse_experiment([str(file.path), *given, *point.options], "train", TrainOptions)
        with mistakes(file):
            if number == 0:
                watched, read = recording(config)
                best = build(file, watched, read=read).best
            _require_same(sweep.run(point), flat(to_json(config)))
    return None if best is None else best.removeprefix("-")


def _require_same(directory: Path, wanted: Mapping[str, object]) -> None:
    """Refuse a folder in which a run has other options; where it ran does not count."""
    record = directory / "config.json"
    if not record.is_file():
        return
    try:
        found = flat(json.loads(record.read_text(encoding="utf-8"))["config"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{record} is damaged ({error}); move its folder away, or give another one with --run"
        ) from error
    for name in wanted:
        if name != "mesh" and found.get(name) != wanted[name]:
            raise UsageError(
                f"{str(directory)!r} was made with --{name} {found.get(name)}, and not {wanted[name]}; give another "
                "folder with --run"
            )


def _train_all(
    sweep: Sweep, points: Sequence[Point], file: str, given: Sequence[str], jobs: int, console: Console
) -> list[Point]:
    waiting, running, failed = list(points), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                point = waiting.pop(0)
                if (sweep.run(point) / "results.json").is_file():
                    console.print(f"{point.name}: complete", markup=False)
                    continue
                running[point.name] = point, _started(sweep, point, file, given)
                console.print(f"{point.name}: begun", markup=False)
            for name, (point, process) in list(running.items()):
                if process.poll() is not None:
                    del running[name]
                    console.print(f"{name}: {'complete' if process.returncode == 0 else 'failed'}", markup=False)
                    failed += [point] if process.returncode else []
            time.sleep(0.1)
    except KeyboardInterrupt:
        for _, process in running.values():
            process.terminate()  # it saves
        for _, process in running.values():
            process.wait()
        raise
    return failed


def _started(sweep: Sweep, point: Point, file: str, given: Sequence[str]) -> subprocess.Popen[bytes]:
    directory = sweep.run(point)
    words = ["train", file, *given, *point.options, "--run", str(directory)]
    if saved_steps(directory):
        words = ["resume", str(directory)]
    else:
        set_aside(directory)
    words += ["--distributed", "off"]
    sweep.directory.mkdir(parents=True, exist_ok=True)
    with (sweep.directory / f"{point.name}.log").open("ab") as log:
        log.write(f"$ {shlex.join(['vifx', *words])}\n".encode())
        log.flush()
        command = [sys.executable, "-m", "vifx", *words]
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
