"""`vifx benchmark`: families of models under one budget of time, measured alike, in one table."""

from __future__ import annotations

__all__ = ["benchmark_command"]

import dataclasses
import json
import math
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from vifx import training
from vifx.cli.console import output
from vifx.cli.file_options import TrainOptions
from vifx.cli.finish import finish
from vifx.cli.options import BenchmarkOptions
from vifx.cli.parse import Failure, UsageError
from vifx.cli.prepare import build, failures, mistakes, parse_experiment
from vifx.cli.seeds import saved_steps, set_aside
from vifx.cli.signals import Signals
from vifx.experiment import Config, Experiment
from vifx.experiment.benchmark_table import write_benchmark
from vifx.experiment.building import fit_run, run_key, saved_state
from vifx.experiment.config import recording
from vifx.experiment.file import ExperimentFile
from vifx.experiment.run import Run, create, environment, open_run, train_command
from vifx.experiment.suite import Family, Suite, read_suite
from vifx.files import write_whole
from vifx.training import Interrupted

_LEAST = 1.0
"""Seconds that are timed at least."""


class _Entry(NamedTuple):
    family: Family
    looks: int
    file: ExperimentFile
    config: Config


def benchmark_command(options: BenchmarkOptions, signals: Signals) -> None:
    """Train every family of a benchmark for as many minutes, and write one table; the same command goes on with it.

    Raises:
      UsageError: if anything that was given is wrong; nothing has been written then.
      Failure: if families have failed; the others are in the table.
    """
    with mistakes(debug=options.debug_checks):
        suite = read_suite(options.suite)
    suite = suite._replace(families=_chosen(suite, options))
    directory = options.run or Path("runs") / f"benchmark-{suite.name}"
    entries = [_entry(family, suite.looks) for family in suite.families]
    _require_same(directory, options)
    console = output()
    console.print(f"{suite.title}: {len(entries)} families, {options.minutes:g} min each, in {directory}", markup=False)
    signals.say("interrupted; the runs are saved, and the same command goes on with them")
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / "benchmark.json", (json.dumps(_record(options), indent=2) + "\n").encode())
    failed = []
    try:
        for entry in entries:
            for seed in range(options.seeds):
                failed += _trained(directory, entry, seed, options, console)
    except Interrupted as error:  # it is saved
        signals.number = error.signal
        raise KeyboardInterrupt from error
    logs = ", ".join(str(path) for path in failed)
    if len(failed) == len(entries) * options.seeds:
        raise Failure(f"all runs have failed, so that there is no table: see {logs}; the same command tries them again")
    for path in write_benchmark(directory, suite, options.seeds, environment(entries[0].file)["versions"]):
        console.print(path, markup=False)
    console.print((directory / "benchmark.md").read_text(encoding="utf-8"), markup=False)
    if failed:
        raise Failure(f"{len(failed)} runs have failed: see {logs}; the same command tries them again")


def _chosen(suite: Suite, options: BenchmarkOptions) -> list[Family]:
    names = [family.name for family in suite.families]
    for name in options.families:
        if name not in names:
            raise UsageError(f"--families has {name!r}; {suite.name} has {', '.join(names)}")
    return [family for family in suite.families if not options.families or family.name in options.families]


def _entry(family: Family, looks: int) -> _Entry:
    try:
        file, config, _ = parse_experiment([family.experiment, *family.words], "train", TrainOptions)
    except UsageError as error:
        raise UsageError(f"family {family.name}: {error}") from error
    return _Entry(family, looks, file, config)


def _record(options: BenchmarkOptions) -> dict[str, Any]:
    return {"suite": str(options.suite), "minutes": options.minutes, "seeds": options.seeds}


def _require_same(directory: Path, options: BenchmarkOptions) -> None:
    """Refuse a folder of another benchmark, or of another budget."""
    path = directory / "benchmark.json"
    if not path.is_file():
        if directory.exists() and any(directory.iterdir()):
            raise UsageError(f"{str(directory)!r} is not empty and holds no benchmark; give another folder with --run")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        before = {name: found[name] for name in ("suite", "minutes")}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is damaged ({error}); move its folder away, or give another one with --run"
        ) from error
    for name, value in before.items():
        if value != _record(options)[name]:
            raise UsageError(
                f"{str(directory)!r} was made with {name} {value}, and not {_record(options)[name]}; give another "
                "folder with --run"
            )


def _trained(directory: Path, entry: _Entry, seed: int, options: BenchmarkOptions, console: Console) -> list[Path]:
    """Train one run, unless it is complete, and measure it; return its log if it has failed."""
    folder = directory / entry.family.folder
    name, log = f"{entry.family.name}, seed {seed}", folder / f"seed={seed}.log"
    if (folder / f"seed={seed}" / "results.json").is_file():
        console.print(f"{name}: complete", markup=False)
        return []
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with failures(entry.file, debug=options.debug_checks), log.open("a", encoding="utf-8") as stream:
            _train(folder, entry, seed, 60 * options.minutes, console, Console(file=stream, width=200))
    except (Failure, training.Diverged, training.CheckpointError) as error:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{error}\n")
        console.print(f"{name}: failed: {error}", markup=False)
        return [log]
    return []


def _train(folder: Path, entry: _Entry, seed: int, seconds: float, console: Console, log: Console) -> None:
    directory, budget = folder / f"seed={seed}", _budget(folder, entry, seconds)
    if saved_steps(directory):
        run = open_run(directory)
        built = build(run.file, run.config)
    else:
        set_aside(directory)
        config = dataclasses.replace(_under_budget(entry.config, budget["updates"], entry.looks), seed=seed)
        watched, read = recording(config)
        built = build(entry.file, watched, read=read)
        run = Run(directory, entry.file, config, reads_steps="steps" in read).continued(at=0)
        create(run)
    log.print(f"$ {shlex.join(train_command(run))}", markup=False)
    with console.status(f"{entry.family.name}, seed {seed}: {run.config.steps:,} updates at most …"):
        fitted = fit_run(run, built, observe=None)
        shown = training.evaluated(fitted.train_state if built.best is None else saved_state(run, built))
        # Whatever else an experiment draws, `vifx evaluate` does, of the runs that somebody looks at.
        few = {name: draw for name, draw in built.drawings.items() if name in ("samples", "density", "modes")}
        finish(run, dataclasses.replace(built, drawings=few), shown, log)
    updates = int(training.read_metrics(run.directory / "metrics.jsonl")[-1]["step"])
    count = sum(leaf.size for leaf in jax.tree.leaves(shown.params))
    spent = {"updates": updates, "seconds": updates * budget["seconds_per_update"], "parameters": int(count)}
    write_whole(folder / f"seed={seed}.json", (json.dumps(spent) + "\n").encode())
    console.print(
        f"{entry.family.name}, seed {seed}: {updates:,} updates in {spent['seconds'] / 60:.2f} minutes", markup=False
    )


def _budget(folder: Path, entry: _Entry, seconds: float) -> Any:
    """Return the updates that a family has time for and the seconds of one: timed once, the same for every seed."""
    path = folder / "budget.json"
    if not path.is_file():
        config = entry.config
        each = _seconds_per_update(build(entry.file, config), config)
        updates = max(1, math.floor(seconds / each / config.log_every)) * config.log_every
        found = {"updates": min(updates, entry.family.steps or updates), "seconds_per_update": each}
        write_whole(path, (json.dumps(found) + "\n").encode())
    return json.loads(path.read_text(encoding="utf-8"))


def _seconds_per_update(built: Experiment, config: Config) -> float:
    """Time updates after the first chunk, which compiles, for at least a second."""
    timed, chunks, spent = 0, 1, 0.0
    while spent < _LEAST:
        ends: list[float] = []
        training.fit(
            run_key(config),
            built.step,
            built.objective,
            built.source,
            steps=(1 + chunks) * config.log_every,
            log_every=config.log_every,
            observe=lambda event, ends=ends: ends.append(event.seconds) if event.kind == "log" else None,
        )
        spent = ends[-1] - ends[0]
        timed, chunks = chunks, max(2 * chunks, math.ceil(chunks * 1.2 * _LEAST / max(spent, 1e-3)))
    return spent / (timed * config.log_every)


def _under_budget(config: Config, updates: int, looks: int) -> Config:
    """Return a config with so many updates, which looks at the validation split so many times on the way."""
    every = max(1, round(updates / looks / config.log_every)) * config.log_every
    return dataclasses.replace(config, steps=updates, checkpoint_every=every, evaluate_every=every)
