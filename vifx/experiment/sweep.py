"""Many runs of one experiment: a grid of options, and seeds; what was measured, as a table and a picture."""

from __future__ import annotations

__all__ = ["Point", "Row", "Sweep", "combinations", "grid", "summary", "write_summary"]

import csv
import io
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vifx.files import write_whole
from vifx.training import read_metrics
from vifx.training.metrics import curve


class Point(NamedTuple):
    """One run of a sweep.

    Attributes:
      values: the options of the grid, by name without dashes.
      seed: its seed.
    """

    values: Mapping[str, str]
    seed: int

    @property
    def name(self) -> str:
        """The name of its directory: "latent=8,seed=0"."""
        return ",".join(f"{name}={value}" for name, value in (*self.values.items(), ("seed", self.seed)))

    @property
    def options(self) -> list[str]:
        """Its options, as `vifx train` takes them."""
        words = [word for name, value in self.values.items() for word in (f"--{name}", value)]
        return [*words, "--seed", str(self.seed)]


class Sweep(NamedTuple):
    """Runs that belong together.

    Attributes:
      directory: where their directories lie.
      points: the runs.
    """

    directory: Path
    points: Sequence[Point]

    def run(self, point: Point) -> Path:
        """Return the directory of a run."""
        return self.directory / point.name


def grid(axes: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> list[Point]:
    """Return every combination of values, each with every seed.

    >>> [point.name for point in grid({"latent": ["2", "4"]}, [0, 1])]
    ['latent=2,seed=0', 'latent=2,seed=1', 'latent=4,seed=0', 'latent=4,seed=1']
    """
    combinations = itertools.product(*axes.values())
    return [Point(dict(zip(axes, values, strict=True)), seed) for values in combinations for seed in seeds]


class Row(NamedTuple):
    """A combination of values, with what was measured over its seeds.

    Attributes:
      values: the options of the grid.
      runs: how many are complete.
      metrics: by name the median, the smallest and the largest value.
    """

    values: Mapping[str, str]
    runs: int
    metrics: Mapping[str, tuple[float, float, float]]


def summary(sweep: Sweep) -> list[Row]:
    """Return for each combination of values the median and the range over seeds of every test metric."""
    rows = []
    for values in combinations(sweep.points):
        found = [_results(sweep.run(point)) for point in sweep.points if point.values == values]
        complete = [metrics for metrics in found if metrics]
        names = [name for name in (complete[0] if complete else {}) if all(name in each for each in complete)]
        columns = {name: [each[name] for each in complete] for name in names}
        metrics = {name: (statistics.median(each), min(each), max(each)) for name, each in columns.items()}
        rows.append(Row(values, len(complete), metrics))
    return rows


def combinations(points: Sequence[Point]) -> list[Mapping[str, str]]:
    """Return the values of the grid that runs have, each once."""
    found: list[Mapping[str, str]] = []
    for point in points:
        if point.values not in found:
            found.append(point.values)
    return found


def _results(directory: Path) -> dict[str, float]:
    path = directory / "results.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["metrics"] if path.is_file() else {}
    return {name: row["value"] for name, row in rows.items()}


def write_summary(sweep: Sweep, metric: str | None) -> list[Path]:
    """Write ``sweep.md``, ``sweep.csv``, of a logged metric ``sweep.png`` with a band over seeds, and ``sweep.html``.

    Args:
      sweep: the runs.
      metric: what the picture shows; none without one.
    """
    from vifx import evaluation

    rows = summary(sweep)
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    options = list(rows[0].values)
    table = [[*options, "runs", *names]]
    for row in rows:
        cells = [_cell(row.metrics[name]) if name in row.metrics else "–" for name in names]
        table.append([*row.values.values(), str(row.runs), *cells])
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    lines.insert(1, "|" + "---|" * len(table[0]))
    picture = None if metric is None else _picture(sweep, metric)
    figures = {} if picture is None else {"sweep": picture}
    title, what = sweep.directory.name, "Medians over seeds, and between the smallest and the largest value a band."
    page = evaluation.report_html(title=title, summary=what, runs=table, figures=figures)
    written = {"sweep.md": ("\n".join(lines) + "\n").encode(), "sweep.csv": _numbers(rows, options, names)}
    written |= {"sweep.png": picture} if picture is not None else {}
    written["sweep.html"] = page.encode()
    for name, content in written.items():
        write_whole(sweep.directory / name, content)
    return [sweep.directory / name for name in written]


def _numbers(rows: Sequence[Row], options: Sequence[str], names: Sequence[str]) -> bytes:
    """Return the table with every number in a column of its own, as CSV."""
    table = io.StringIO()
    writer = csv.writer(table)
    parts = ("median", "smallest", "largest")
    writer.writerow([*options, "runs", *(f"{name} {part}" for name in names for part in parts)])
    for row in rows:
        numbers: list[Any] = [n for name in names for n in row.metrics.get(name, ("", "", ""))]
        writer.writerow([*row.values.values(), row.runs, *numbers])
    return table.getvalue().encode()


def _cell(values: tuple[float, float, float]) -> str:
    median, low, high = values
    return f"{median:.5g}" if low == high else f"{median:.5g} ({low:.5g} to {high:.5g})"


def _picture(sweep: Sweep, metric: str) -> bytes | None:
    from vifx import evaluation

    bands = {}
    for values in combinations(sweep.points):
        logs = [_curve(sweep.run(point), metric) for point in sweep.points if point.values == values]
        steps = sorted(set.intersection(*map(set, logs))) if logs else []
        if steps:
            name = ", ".join(f"{option} {value}" for option, value in values.items()) or metric
            bands[name] = steps, [[log[step] for log in logs] for step in steps]
    return evaluation.png(evaluation.banded_curves(bands, title="Runs", label=metric)) if bands else None


def _curve(directory: Path, metric: str) -> dict[float, float]:
    path = directory / "metrics.jsonl"
    steps, values = curve(read_metrics(path) if path.is_file() else [], metric)
    return dict(zip(steps, values, strict=True))
