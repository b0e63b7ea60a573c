"""`vifx train`, `resume`, `evaluate` and `sample`: everything that has a run directory."""

from __future__ import annotations

__all__ = ["evaluate", "reopen", "resume", "sample", "train"]

import contextlib
import io
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from vifx import evaluation, training
from vifx.cli.console import output, watch
from vifx.cli.debugging import located
from vifx.cli.file_options import TrainOptions
from vifx.cli.finish import finish
from vifx.cli.joining import distributed, follow, join, require_same_run
from vifx.cli.options import EvaluateOptions, ResumeOptions, SampleOptions, SavedOptions
from vifx.cli.parse import Failure, UsageError
from vifx.cli.prepare import build, failures, mistakes, parse_experiment, rehearse
from vifx.cli.profile import profile_updates
from vifx.cli.remedy import checkpoint_steps, damage_remedied, require_checkpoint
from vifx.cli.signals import Signals
from vifx.experiment import Experiment
from vifx.experiment.building import fit_run, saved_state
from vifx.experiment.config import recording
from vifx.experiment.mesh import mesh_of
from vifx.experiment.model_functions import Drawn
from vifx.experiment.open_run import OpenRun
from vifx.experiment.programs import keep_programs, publish_programs
from vifx.experiment.run import (
    Run,
    Stretch,
    create,
    default_directory,
    extend,
    open_run,
    record,
    require_unused,
    train_command,
)
from vifx.files import write_whole
from vifx.training import Event, TrainState, hosts
from vifx.training.layout import local


def train(arguments: Sequence[str], signals: Signals) -> None:
    """Train an experiment in a new run directory.

    Raises:
      UsageError: if anything that was given is wrong; nothing has been written then.
      training.Interrupted: after a signal, when the run is saved.
      training.Diverged: if a number is not finite.
    """
    console = join(distributed(arguments))
    file, config, options = parse_experiment(arguments, "train", TrainOptions)
    require_same_run(file, config)
    if options.allow_download:
        config = replace(config, data=replace(config.data, allow_download=True))
    with mistakes(file, debug=options.debug_checks):
        require_unused(options.run or default_directory(file))
        watched, read = recording(config)
        built = build(file, watched, read=read)
        with console.status("trying the monitor and the drawings …"):
            if jax.process_index() == 0:
                rehearse(built, watched)
    run = Run(options.run or default_directory(file), file, config, reads_steps="steps" in read).continued(at=0)
    _announce(run, built, console)  # before anything is written, in case standard output cannot be
    with mistakes(debug=options.debug_checks):
        make = partial(_created, run, console, anywhere=options.run is None)
        run = run._replace(directory=follow(make, "the run's directory"))
    if options.profile:
        with failures(file, debug=options.debug_checks), console.status("profiling …"):
            trace = profile_updates(built, config, mesh_of(config), run.directory / "profile")
        console.print(f"profile  {trace}", markup=False)
    _train(run, built, console, signals, debug=options.debug_checks)


def _created(run: Run, console: Console, *, anywhere: bool) -> Path:
    """Make the directory of a run; if another command was faster and it may be `anywhere`, the next one."""
    while True:
        try:
            create(run)
            return run.directory
        except FileExistsError:
            if not anywhere:
                raise
            run = run._replace(directory=default_directory(run.file))
            console.print(f"run directory {run.directory}, since another process has taken that one", markup=False)


def resume(options: ResumeOptions, signals: Signals) -> None:
    """Continue a run, bit for bit as if it had never been stopped.

    Raises:
      UsageError: if it is not a run, or no longer the one that was started.
      training.Interrupted: after a signal, when the run is saved.
      training.Diverged: if a number is not finite.
    """
    console = join(options.distributed)
    with mistakes(debug=options.debug_checks):
        run = open_run(options.directory, trust=options.trust, tell=_teller(console))
        if options.mesh is not None:
            run = run._replace(config=replace(run.config, mesh=options.mesh))
        if run.changed:
            raise UsageError(
                f"{run.file.path} has changed since the run was started, so it would not continue the same run; "
                "restore it, or start a new run with vifx train"
            )
        require_checkpoint(run)
    with mistakes(run.file, debug=options.debug_checks):
        at = options.from_step or max(checkpoint_steps(run), default=0)
        require_same_run(run.file, run.config)
        longer = run if options.steps is None else extend(run, options.steps, at=at)
        watched, read = recording(longer.config)
        built = build(run.file, watched)
        if "steps" in read:
            _require_same_schedule(run, longer, at, options)
    _announce(longer, built, console)
    begin = partial(_extend, longer, at) if longer.continued(at=at) != run else None
    _train(longer, built, console, signals, from_step=options.from_step, debug=options.debug_checks, begin=begin)


def _extend(longer: Run, at: int, step: int) -> None:
    """Record how far a run goes and where, once it is this command's alone and its checkpoint is restored."""
    if jax.process_index() > 0:
        return
    if step != at or longer.record.read_text(encoding="utf-8") != longer.recorded:
        raise Failure("another process has gone on with this run in the meantime; resume it again")
    record(longer.continued(at=at))


def _require_same_schedule(run: Run, longer: Run, at: int, options: ResumeOptions) -> None:
    """Refuse, of an experiment whose schedules read `steps`, what would change them unasked."""
    if longer is not run and not options.change_schedule:
        anew = shlex.join([*train_command(run._replace(config=longer.config, extensions=())), "--run", "OTHER"])
        raise UsageError(
            f"a schedule of {run.file.path} reads `steps`, so this run of {run.config.steps:,} updates, extended to "
            f"{longer.config.steps:,}, would not be the run of {longer.config.steps:,}; start that with: {anew}; or go "
            "on all the same, under the schedule of the longer run, with --change-schedule, which is recorded"
        )
    last = run.extensions[-1] if run.extensions else None
    if last is not None and at < last.at:
        raise UsageError(
            f"the updates up to {last.at:,} of this run followed the schedule of {last.before:,} updates, and a "
            f"schedule of {run.file.path} reads `steps`; go on from update {last.at:,} or later, or start anew"
        )


def evaluate(options: EvaluateOptions) -> None:
    """Measure a run again, and draw its figures and its report anew.

    Raises:
      UsageError: if it is not a run that has a checkpoint.
    """
    console = output()
    run, built, train_state = reopen(options, console)
    with failures(run.file, debug=options.debug_checks):
        finish(run, built, train_state, console)


def sample(options: SampleOptions) -> None:
    """Draw from a trained model: images into one PNG, or arrays into a file of NumPy's.

    Raises:
      UsageError: if it is not a run that has a checkpoint, or is to make a PNG of what are no images.
    """
    console = output()
    run, built, train_state = reopen(options, console)
    ending = ".npy" if built.sample is None else ".png"
    name = f"samples-{options.n}-{options.temperature:g}-{options.seed}{ending}"
    path = options.out or (run.figures / name if ending == ".png" else run.directory / name)
    if path.suffix not in (".png", ".npy") or (path.suffix == ".png" and built.sample is None):
        kinds = "NAME.npy" if built.sample is None else "NAME.png or NAME.npy"
        raise UsageError(f"--out must be {kinds} for {run.file.path.stem}; got {str(path)!r}")
    with failures(run.file, debug=options.debug_checks):
        drawn = OpenRun(run, built, train_state).sample(options.n, temperature=options.temperature, seed=options.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy" or isinstance(drawn, dict):
            _write_arrays(path, drawn)
        else:
            evaluation.save_figure(evaluation.image_grid(drawn, columns=options.columns), path)
    console.print(f"{options.n} samples at temperature {options.temperature:g}: {path}", markup=False)


def _write_arrays(path: Path, drawn: Drawn) -> None:
    """Write one array; of several variables one with a field for each, by name."""
    content = io.BytesIO()
    if isinstance(drawn, dict):
        kind = [(name, array.dtype, array.shape[1:]) for name, array in drawn.items()]
        fields = np.zeros(len(next(iter(drawn.values()))), kind)
        for name, array in drawn.items():
            fields[name] = array
        drawn = fields
    np.save(content, drawn)
    write_whole(path, content.getvalue())


def _announce(run: Run, built: Experiment, console: Console) -> None:
    console.print(f"{run.file.path.stem}: {built.inference} against {built.generative}", markup=False, style="bold")
    console.print(f"run directory {run.directory}", markup=False)
    if run.config.mesh is not None or jax.process_count() > 1:
        here = Stretch.here(run.config, at=0)
        console.print(f"devices {here.devices}, mesh {here.mesh or 'of one device'}", markup=False)
    if (place := keep_programs()) is not None:
        console.print(f"compiled programs are kept in {place} (VIFX_CACHE=off: nowhere)", markup=False)
    for note in built.splits.info.notes if built.splits is not None else ():
        console.print(f"data {run.config.data.name}: {note}", markup=False)
    if built.monitor is None and built.splits is not None and not len(next(iter(built.splits.validation.values()))):
        console.print(f"data {run.config.data.name}: no validation split, so nothing is monitored", markup=False)


def _teller(console: Console) -> Callable[[str], None]:
    return partial(console.print, markup=False)


def _train(
    run: Run,
    built: Experiment,
    console: Console,
    signals: Signals,
    *,
    from_step: int | None = None,
    debug: bool,
    begin: Callable[[int], None] | None = None,
) -> None:
    """Train and measure; `begin` is called with the update to go on from, when the run is this process's alone."""
    signals.say("interrupted at once; what was saved before is whole", at_once=True)

    def observe(event: Event) -> None:
        if event.kind == "start" and begin is not None:
            begin(event.step)
        if event.kind in ("checkpoint", "end"):
            publish_programs()
        if not console.quiet:
            show(event)

    with (
        failures(run.file, debug=debug),
        _origins(run, built, find=debug and jax.process_count() == 1),
        watch(console, _own_metrics(built)) as show,
        damage_remedied(run, resuming=True),
    ):
        fitted = fit_run(run, built, observe=observe, from_step=from_step)
    last = local(fitted.train_state)
    if jax.process_index() == 0:
        _finished(run, built, last, console, signals, debug=debug)
    hosts.gathered("", "the end of the run")


@contextlib.contextmanager
def _origins(run: Run, built: Experiment, *, find: bool) -> Iterator[None]:
    """Say of a run that diverges which operation made the first bad number, where that is to be found."""
    try:
        yield
    except training.Diverged as error:
        if find:
            raise Failure(located(run, built, error)) from error
        raise


def _finished(
    run: Run, built: Experiment, last: TrainState, console: Console, signals: Signals, *, debug: bool
) -> None:
    later = f"trained and saved; measure and draw with: {shlex.join(['vifx', 'evaluate', str(run.directory)])}"
    signals.say(f"interrupted; {later}")
    try:
        with failures(run.file, debug=debug), damage_remedied(run, resuming=False):
            found = last if built.best is None else saved_state(run, built)
            finish(run, built, training.evaluated(found), console)
    except Failure as error:
        raise Failure(f"{error}; {later}") from error


def _own_metrics(built: Experiment) -> list[str]:
    best = [] if built.best is None else [built.best.removeprefix("-")]
    return [*best, *(name for names in built.curves.values() for name in names)]


def reopen(options: SavedOptions, console: Console) -> tuple[Run, Experiment, TrainState]:
    """Return a run with its experiment and a checkpoint of it, as it is evaluated.

    Raises:
      UsageError: if it is not a run that has the checkpoint.
    """
    with mistakes(debug=options.debug_checks):
        run = open_run(options.directory, trust=options.trust, tell=_teller(console))
    with mistakes(run.file, debug=options.debug_checks):
        built = build(run.file, run.config)
        with damage_remedied(run, resuming=False):
            train_state = training.evaluated(saved_state(run, built, step=options.step))
    console.print(f"checkpoint of update {int(train_state.step):,}", markup=False)
    return run, built, train_state
