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
from vifx.cli.options import SweepOptions, TrainOptions
from vifx.cli.parse import Failure, UsageError
from vifx.cli.prepare import build, mistakes, parse_experiment
from vifx.cli.signals import Signals
from vifx.experiment.config import recording
from vifx.experiment.file import ExperimentFile, find
from vifx.experiment.rules import flat, to_json
from vifx.experiment.sweep import Point, Sweep, grid, summary, write_summary

_OWN = ("--grid", "--seeds", "--jobs", "--run")


def sweep_command(arguments: Sequence[str], signals: Signals) -> None:
    """Train every point of a grid with every seed; the same command goes on with what was stopped.

    Raises:
      UsageError: if anything that was given is wrong; nothing has been written then.
      Failure: if runs have failed; the others are complete.
    """
    file, _, options = parse_experiment(arguments, "sweep", SweepOptions)
    axes = dict(_axis(text) for text in options.grid)
    points = grid(axes, range(options.seeds))
    given = _of_the_runs(arguments, file)
    sweep = Sweep(options.run or Path("runs") / f"{file.path.stem}-sweep", points)
    best = _checked(file, given, sweep)
    console = output()
    console.print(f"{len(points)} runs in {sweep.directory}, {options.jobs} at a time", markup=False)
    signals.say("interrupted; the runs are saved, and the same command goes on with them")
    failed = _train_all(sweep, str(file.path), given, options.jobs, console)
    if any(row.runs for row in summary(sweep)):
        for path in write_summary(sweep, best):
            console.print(path, markup=False)
        console.print((sweep.directory / "sweep.md").read_text(encoding="utf-8"), markup=False)
    if failed:
        logs = ", ".join(str(sweep.directory / f"{point.name}.log") for point in failed)
        raise Failure(f"{len(failed)} of {len(points)} runs have failed: see {logs}; the same command tries them again")


def _axis(text: str) -> tuple[str, list[str]]:
    name, equals, values = text.partition("=")
    if not equals or not name or not all(values.split(",")):
        raise UsageError(f"--grid must be OPTION=VALUE,VALUE,…, such as latent=8,16; got {text!r}")
    if name == "seed":
        raise UsageError("seeds are no part of the grid; give how many with --seeds")
    return name.removeprefix("--"), values.split(",")


def _of_the_runs(arguments: Sequence[str], file: ExperimentFile) -> list[str]:
    """Return the arguments but for the file and the options of `vifx sweep` itself, which take a value each."""
    words, rest = iter(arguments), []
    for word in words:
        name, equals, _ = word.partition("=")
        if name in _OWN:
            if not equals:
                next(words, None)
        elif word.startswith("-") or find(word) != file.path:
            rest.append(word)
    return rest


def _checked(file: ExperimentFile, given: Sequence[str], sweep: Sweep) -> str | None:
    """Check the options of every run, and those that are there already; return the metric of the best checkpoint."""
    best = None
    for number, point in enumerate(sweep.points):
        _, config, _ = parse_experiment([str(file.path), *given, *point.options], "train", TrainOptions)
        if number == 0:
            with mistakes(file):
                watched, read = recording(config)
                best = build(file, watched, read=read).best
        record = sweep.run(point) / "config.json"
        if record.is_file():
            found = json.loads(record.read_text(encoding="utf-8"))["config"]
            _require_same(sweep.run(point), flat(found), flat(to_json(config)))
    return None if best is None else best.removeprefix("-")


def _require_same(directory: Path, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    for name in wanted:
        if name not in ("steps", "mesh") and found.get(name) != wanted[name]:
            raise UsageError(
                f"{str(directory)!r} was made with --{name} {found.get(name)}, and not {wanted[name]}; give another "
                "folder with --run"
            )


def _train_all(sweep: Sweep, file: str, given: Sequence[str], jobs: int, console: Console) -> list[Point]:
    waiting, running, failed = list(sweep.points), {}, []
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
    if (directory / "config.json").is_file():
        words = ["resume", str(directory)]
    sweep.directory.mkdir(parents=True, exist_ok=True)
    with (sweep.directory / f"{point.name}.log").open("ab") as log:
        log.write(f"$ {shlex.join(['vifx', *words])}\n".encode())
        log.flush()
        command = [sys.executable, "-m", "vifx", *words]
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
