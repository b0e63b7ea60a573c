"""`vifx compare`: runs side by side, by what they have written; nothing of an experiment is executed."""

from __future__ import annotations

__all__ = ["compare_command"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from vifx import evaluation
from vifx.checks import nearest
from vifx.cli.console import output
from vifx.cli.options import CompareOptions
from vifx.cli.parse import UsageError
from vifx.experiment.rules import flat
from vifx.training import read_metrics
from vifx.training.metrics import Row


class _Written(NamedTuple):
    """What a run has written.

    Attributes:
      name: its directory, as it was given.
      experiment: the name of its experiment file.
      options: its config, by option.
      rows: its log.
      results: what was measured at the end: by metric its value, standard error and unit.
    """

    name: str
    experiment: str
    options: Mapping[str, Any]
    rows: list[Row]
    results: Mapping[str, Mapping[str, Any]]


def compare_command(options: CompareOptions) -> None:
    """Print the options that differ between runs and what was measured of each, and draw a metric of all of them.

    Raises:
      UsageError: if there are fewer than two, one is not a run, or no run has the metric that is to be drawn.
    """
    if len(options.directories) < 2:
        raise UsageError(f"vifx compare needs at least two runs, got {len(options.directories)}")
    runs = [_read(directory) for directory in options.directories]
    console = output()
    different = {
        name: [str(run.options.get(name, "–")) for run in runs] for name in _names(run.options for run in runs)
    }
    rows = {"experiment": [run.experiment for run in runs]} | different
    _table(
        "options that differ", [run.name for run in runs], {k: v for k, v in rows.items() if len(set(v)) > 1}, console
    )
    measured = {name: [_shown(run.results.get(name)) for run in runs] for name in _names(run.results for run in runs)}
    steps = {"updates": [f"{run.rows[-1]['step']:,}" if run.rows else "0" for run in runs]}
    _table("test split", [run.name for run in runs], steps | measured, console)
    if options.out is not None:
        metric = _metric(options.metric, runs)
        curves = {run.name: _curve(run.rows, metric) for run in runs if any(metric in row for row in run.rows)}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        evaluation.save_figure(evaluation.loss_curves(curves, title="Runs", label=metric), options.out)
        console.print(f"{metric} of {len(curves)} runs: {options.out}", markup=False)


def _read(directory: Path) -> _Written:
    try:
        record = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        options, experiment = flat(record["config"]), Path(record["experiment"]["file"]).stem
        path = directory / "results.json"
        results = json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.is_file() else {}
        log = directory / "metrics.jsonl"
        rows = read_metrics(log) if log.is_file() else []
        shown = {name: {key: row[key] for key in ("value", "standard_error", "unit")} for name, row in results.items()}
    except FileNotFoundError as error:
        raise UsageError(f"{str(directory)!r} is not a run directory: it has no config.json") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UsageError(f"{str(directory)!r} is damaged: {error}") from error
    return _Written(str(directory), experiment, {f"--{name}": value for name, value in options.items()}, rows, shown)


def _names(each: Any) -> list[str]:
    return list(dict.fromkeys(name for names in each for name in names))


def _shown(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2g}"
    return f"{row['value']:.5g}{error} {row['unit'] or ''}".rstrip()


def _table(title: str, names: Sequence[str], rows: Mapping[str, Sequence[str]], console: Any) -> None:
    table = Table("", *names, title=title, title_justify="left", box=None, pad_edge=False)
    for name, values in rows.items():
        table.add_row(name, *values)
    console.print(table if rows else f"{title}: none")


def _metric(asked: str | None, runs: Sequence[_Written]) -> str:
    logged = [name for name in _names(row for run in runs for row in run.rows) if name != "step"]
    usual = [name for name in ("validation/loss", *logged) if name in logged]
    if asked is not None and asked not in logged:
        raise UsageError(
            f"no run has logged {asked!r}{nearest(asked, logged)}; --metric may be one of {', '.join(logged)}"
        )
    if not usual:
        raise UsageError("no run has logged a metric yet, so there is nothing to draw")
    return asked or usual[0]


def _curve(rows: Sequence[Row], metric: str) -> tuple[list[float], list[float]]:
    found = [(row["step"], row[metric]) for row in rows if metric in row]
    return [step for step, _ in found], [value for _, value in found]
