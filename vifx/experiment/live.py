"""The report of a run that is under way, from what it has written."""

from __future__ import annotations

__all__ = ["live_report", "signature"]

import shlex
import time
from pathlib import Path
from typing import Any

from vifx import evaluation
from vifx.evaluation import Metric
from vifx.evaluation.captions import in_order
from vifx.evaluation.table import described
from vifx.experiment.written import Written, read_written
from vifx.training.metrics import Row, curve
from vifx.training.progress_line import duration

_PANELS = 8
"""How many metrics are drawn at most besides the losses."""


def signature(directory: Path) -> str:
    """Return a text that changes when a run has written something that its report shows."""
    files = [directory / name for name in ("config.json", "results.json", "metrics.jsonl")]
    files += sorted((directory / "figures").rglob("*.png"))
    states = [(str(path.relative_to(directory)), path.stat()) for path in files if path.is_file()]
    return str(hash(tuple((name, state.st_mtime_ns, state.st_size) for name, state in states)))


def live_report(directory: Path) -> str:
    """Return the report of a run as it is now, as a page that keeps itself up to date.

    Args:
      directory: of the run.

    Raises:
      FileNotFoundError: if it is not a run directory.
      ValueError: if a file of it is damaged.
    """
    run = read_written(directory)
    return evaluation.report_html(
        title=run.experiment,
        summary=_summary(run),
        metrics=_metrics(run),
        figures=_figures(run),
        config=run.record["config"],
        versions={name: str(version) for name, version in run.record.get("versions", {}).items()},
        commands=[shlex.join(map(str, run.record.get("command", [])))],
        live=True,
    )


def _summary(run: Written) -> str:
    steps, at = int(run.options["steps"]), int(run.rows[-1]["step"]) if run.rows else 0
    if run.step is not None:
        return f"{at:,} updates; measured and drawn after update {run.step:,}."
    if not run.rows:
        return f"No update of {steps:,} has been logged yet."
    ago = time.time() - (run.directory / "metrics.jsonl").stat().st_mtime
    since = "" if ago < 60 else f" The last row was written {duration(ago)} before this page."
    return f"Update {at:,} of {steps:,}.{since}"


def _metrics(run: Written) -> list[Metric]:
    """Return what was measured at the end, or before it the last value of every metric of the log."""
    if run.step is not None:
        known = {row.name: row for row in described({name: row["value"] for name, row in run.results.items()})}
        return [known[name]._replace(standard_error=row["standard_error"]) for name, row in run.results.items()]
    last: dict[str, float] = {}
    for row in run.rows:
        last |= {name: float(value) for name, value in row.items() if name != "step"}
    return [
        found._replace(name=name, meaning="")
        for name, value in last.items()
        for found in described({name.removeprefix("validation/"): value})
    ]


def _figures(run: Written) -> dict[str, bytes]:
    """Return the pictures of the end, or before it the last ones of each name, and curves of the log."""
    folder = run.directory / "figures"
    if run.step is not None:
        found = {path.stem: path for path in folder.glob("*.png")}
        return {name: found[name].read_bytes() for name in in_order(found)}
    steps = sorted((path for path in folder.glob("[0-9]*") if path.name.isdecimal()), key=lambda path: int(path.name))
    found = {path.stem: path for path in steps[-1].glob("*.png")} if steps else {}
    drawn = {name: found[name].read_bytes() for name in in_order(found)}
    return drawn | {name: evaluation.png(figure) for name, figure in _curves(run.rows).items()}


def _curves(rows: list[Row]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for row in rows for name in row if name != "step"))
    drawn = {name: found for name in names if len((found := curve(rows, name))[0]) > 1}
    losses = {name: found for name, found in drawn.items() if name.startswith("loss/") or name == "validation/loss"}
    others = {name: found for name, found in drawn.items() if name not in losses and not name.startswith("guard/")}
    monitored = sorted(others, key=lambda name: not name.startswith("validation/"))[:_PANELS]
    figures = {"loss": evaluation.loss_curves(losses)} if losses else {}
    return figures | (
        {"metrics": evaluation.metric_curves({name: others[name] for name in monitored})} if monitored else {}
    )
