"""`vifx compare`: runs side by side, by what they have written; nothing of an experiment is executed."""

from __future__ import annotations

__all__ = ["compare_command"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from vifx import evaluation
from vifx.checks import nearest
from vifx.cli.console import output
from vifx.cli.options import CompareOptions
from vifx.cli.parse import UsageError
from vifx.experiment.written import Written, read_written
from vifx.training.metrics import curve


def compare_command(options: CompareOptions) -> None:
    """Print the options that differ between runs and what was measured of each, and draw a metric of all of them.

    Raises:
      UsageError: if there are fewer than two, one is not a run, or no run has the metric that is to be drawn.
    """
    if len(options.directories) < 2:
        raise UsageError(f"vifx compare needs at least two runs, got {len(options.directories)}")
    runs = {str(directory): _read(directory) for directory in options.directories}
    console, heads, each = output(), list(runs), list(runs.values())
    rows = {"experiment": [run.experiment for run in each]}
    rows |= {f"--{name}": [str(run.options.get(name, "–")) for run in each] for name in _names(r.options for r in each)}
    _table("options that differ", heads, {name: row for name, row in rows.items() if len(set(row)) > 1}, console)
    measured = {name: [_shown(run.results.get(name)) for run in each] for name in _names(run.results for run in each)}
    steps = {"updates": [f"{run.rows[-1]['step']:,}" if run.rows else "0" for run in each]}
    _table("test split", heads, steps | measured, console)
    if options.out is not None:
        metric = _metric(options.metric, each)
        curves = {head: curve(run.rows, metric) for head, run in runs.items() if any(metric in r for r in run.rows)}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        evaluation.save_figure(evaluation.loss_curves(curves, title="Runs", label=metric), options.out)
        console.print(f"{metric} of {len(curves)} runs: {options.out}", markup=False)


def _read(directory: Path) -> Written:
    try:
        return read_written(directory)
    except (OSError, ValueError) as error:
        raise UsageError(str(error)) from error


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


def _metric(asked: str | None, runs: Sequence[Written]) -> str:
    logged = [name for name in _names(row for run in runs for row in run.rows) if name != "step"]
    usual = [name for name in ("validation/loss", *logged) if name in logged]
    if asked is not None and asked not in logged:
        raise UsageError(
            f"no run has logged {asked!r}{nearest(asked, logged)}; --metric may be one of {', '.join(logged)}"
        )
    if not usual:
        raise UsageError("no run has logged a metric yet, so there is nothing to draw")
    return asked or usual[0]
