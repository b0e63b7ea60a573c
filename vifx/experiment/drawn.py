"""The figures of a run: what its experiment draws, and the curves of its log."""

from __future__ import annotations

__all__ = ["EVALUATION", "curves", "draw_run", "drawings"]

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from vifx import evaluation, training
from vifx.experiment.file import Experiment
from vifx.experiment.run import Run
from vifx.files import write_whole
from vifx.training import Raised, TrainState
from vifx.training.metrics import Row, curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVALUATION = 0x6576616C
"""Separates the noise of evaluations and drawings from that of the updates."""


def draw_run(run: Run, built: Experiment, train_state: TrainState) -> None:
    """Draw a run as it goes: what its experiment draws into ``figures/UPDATE``, its curves into ``figures``."""
    history = training.read_metrics(run.directory / "metrics.jsonl")
    _write(run.figures / str(int(train_state.step)), drawings(built, training.evaluated(train_state)))
    _write(run.figures, curves(history, built))


def _write(folder: Path, figures: Mapping[str, Figure]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        write_whole(folder / f"{name}.png", evaluation.png(figure))


def drawings(built: Experiment, train_state: TrainState) -> dict[str, Figure]:
    """Return what an experiment draws, with the same noise at every update."""
    figures = {}
    for index, (name, draw) in enumerate(built.drawings.items()):
        key = jax.random.fold_in(jax.random.fold_in(train_state.key, EVALUATION), index)
        figures[name] = draw(key, train_state.params, train_state.state)
    return figures


def curves(history: Sequence[Row], built: Experiment, *, best: int | None = None) -> dict[str, Figure]:
    """Return the curves of a log: of each player's loss, and of the metrics that the experiment names.

    Args:
      history: the rows.
      built: the experiment.
      best: the update of the best checkpoint, to be marked.
    """
    alarms = training.episodes(built.alarms, history)
    return _losses(history, built) | _metrics(history, built, alarms, best)


def _losses(history: Sequence[Row], built: Experiment) -> dict[str, Figure]:
    """Draw each player's loss, and the validation loss where it was measured."""
    names = {f"loss/{player}": f"train, {player}" for player in built.objective.players}
    names = dict.fromkeys(names, "train") if len(names) == 1 else names
    names |= {"validation/loss": "validation"}
    found = {label: line for metric, label in names.items() if (line := _curve(history, metric))}
    best = "validation" if built.best == "validation/loss" and "validation" in found else None
    return {"loss": evaluation.loss_curves(found, mark_best=best)} if found else {}


def _metrics(
    history: Sequence[Row], built: Experiment, alarms: Sequence[Raised], best: int | None
) -> dict[str, Figure]:
    """Draw the metrics that the experiment names, with the updates at which alarms went off and of the best."""
    logged = sorted({name for row in history for name in row if name != "step"})
    marks = {"alarm": [raised.step for raised in alarms], "best checkpoint": [] if best is None else [best]}
    figures = {}
    for figure, patterns in built.curves.items():
        names = [name for pattern in patterns for name in fnmatch.filter(logged, pattern)]
        found = {name: line for name in dict.fromkeys(names) if (line := _curve(history, name))}
        if found:
            title = figure.replace("_", " ").capitalize()
            figures[figure] = evaluation.metric_curves(found, title=title, marks=marks)
    return figures


def _curve(history: Sequence[Row], metric: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return the updates and values of a metric, or None if there are fewer than two."""
    found = curve(history, metric)
    return found if len(found[0]) > 1 else None
