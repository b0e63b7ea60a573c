"""The end of a run: metrics on the test split, figures, the report."""

from __future__ import annotations

__all__ = ["finish"]

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
from rich.console import Console

from vifx import evaluation, training
from vifx.cli.console import alarm_line, aligned
from vifx.core.explain import explain
from vifx.evaluation import Estimate, Stages
from vifx.evaluation.likelihood_bounds import Bounds
from vifx.experiment import Experiment
from vifx.experiment.building import run_key
from vifx.experiment.drawn import EVALUATION, curves, drawings
from vifx.experiment.run import Run, Stretch, reproduction
from vifx.files import write_whole
from vifx.training import Raised, TrainState
from vifx.training.chunk import first_batch
from vifx.training.metrics import Row, encode

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def finish(run: Run, built: Experiment, train_state: TrainState, console: Console) -> None:
    """Measure the test split, draw every figure, write the report, and say where they are."""
    step = int(train_state.step)
    key = jax.random.fold_in(train_state.key, EVALUATION)
    console.print(_announcement(run, built), markup=False)
    with console.status("measuring the test split …"):
        found = dict(built.evaluate(key, train_state.params, train_state.state)) if built.evaluate else {}
    history = training.read_metrics(run.directory / "metrics.jsonl")
    alarms = training.episodes(built.alarms, history)
    course = _course(built, history)
    _write_results(run, found, alarms, course, step)
    with console.status("drawing …"):
        best = step if built.best is not None else None
        figures = drawings(built, train_state) | _bounds(found) | curves(history, built, best=best)
        images = {name: evaluation.png(figure) for name, figure in figures.items()}
        run.figures.mkdir(exist_ok=True)
        for name, image in images.items():
            write_whole(run.figures / f"{name}.png", image)
        made = int(history[-1]["step"]) if history else step
        _write_report(run, built, found, images, alarms, course, _updates(built, made, step))
    console.print()
    if found:
        title = f"{'Measured' if built.splits is None else 'Test split'} after {step:,} updates"
        evaluation.print_metrics(evaluation.described(found), title=title, console=console)
    if course is not None:
        rows = evaluation.stage_table(course)
        console.print(aligned(rows), markup=False)
        console.print(f"{course.sentence}\n", markup=False)
    console.print(f"figures  {run.figures}", markup=False)
    console.print(f"report   {run.report}", markup=False)


def _announcement(run: Run, built: Experiment) -> str:
    """Announce the next stage, which may take minutes."""
    if built.evaluate is None:
        return "drawing"
    if built.splits is None:
        return "measuring; then drawing"
    few = getattr(run.config, "bound_examples", None)
    of = "" if few is None else f", the K-sample bounds on {min(few, len(built.splits.test['x'])):,} examples of it"
    return f"measuring on the test split{of}; then drawing"


def _course(built: Experiment, history: Sequence[Row]) -> Stages | None:
    """Return the best, last and worst rows of a run that may collapse: that has an alarm on what is monitored."""
    monitored = any(alarm.metric.startswith("validation/") for alarm in built.alarms)
    return evaluation.stages(history, best=built.best, alarms=built.alarms) if built.best and monitored else None


def _write_results(
    run: Run, found: Mapping[str, Estimate | float], alarms: Sequence[Raised], course: Stages | None, step: int
) -> None:
    rows = {
        metric.name: {"value": metric.value, "standard_error": metric.standard_error, "unit": metric.unit}
        for metric in evaluation.described(found)
    }
    went_off = [
        {"metric": each.alarm.metric, "since": each.since, "step": each.step, "meaning": each.alarm.meaning}
        for each in alarms
    ]
    content = {"step": step, "metrics": rows, "alarms": went_off}
    if course is not None:
        three = {"best": course.best, "last": course.last, "worst": course.worst}
        content["course"] = {name: encode({**row, "step": row["step"]}) for name, row in three.items()}
        content["collapse"] = None if course.collapse is None else course.collapse.since
    text = json.dumps(content, indent=2) + "\n"
    write_whole(run.directory / "results.json", text.encode())


def _updates(built: Experiment, made: int, shown: int) -> str:
    """Say how many updates were made, and after which of them the model is measured and drawn."""
    if made == shown:
        return f"Measured and drawn after all {made:,} updates."
    best = "" if built.best is None else f", where {built.best.removeprefix('-')} is best"
    return f"Measured and drawn after update {shown:,} of {made:,}{best}."


def _bounds(found: Mapping[str, Estimate | float]) -> dict[str, Figure]:
    curves = [value.curve for value in found.values() if isinstance(value, Bounds)]
    return {"bound": evaluation.bound_curve(curves[0])} if curves and len(curves[0]) > 1 else {}


def _write_report(
    run: Run,
    built: Experiment,
    found: Mapping[str, Estimate | float],
    images: Mapping[str, bytes],
    alarms: Sequence[Raised],
    course: Stages | None,
    updates: str,
) -> None:
    record = json.loads(run.record.read_text(encoding="utf-8"))
    versions = record["versions"] | {"git revision": record["git_revision"] or "unknown"}
    for stretch in run.stretches:
        name = "devices" if stretch is run.stretches[0] else f"devices after update {stretch.at:,}"
        versions[name] = _where(stretch)
    evaluation.write_report(
        run.report,
        title=run.file.path.stem,
        summary=f"{run.file.doc.partition(chr(10))[0]} {updates}",
        alarms=[alarm_line(raised.step, raised.sentence) for raised in alarms],
        metrics=evaluation.described(found),
        course=() if course is None else evaluation.stage_table(course),
        collapse="" if course is None else course.sentence,
        figures=images,
        config=record["config"],
        versions=versions,
        explanation=explain(built.objective, first_batch(run_key(run.config), built.source)),
        commands=[shlex.join(command) for command in reproduction(run)],
    )


def _where(stretch: Stretch) -> str:
    """Return "8 × cpu (cpu), data=8, 2 processes"."""
    processes = f"{stretch.processes} processes" if stretch.processes > 1 else None
    return ", ".join(filter(None, (stretch.devices, stretch.mesh, processes)))
