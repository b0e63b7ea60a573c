"""The result of a benchmark: a table as Markdown, JSON, CSV and a page with a picture."""

from __future__ import annotations

__all__ = ["write_benchmark"]

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from vifx.experiment.comparison import COLUMNS, Compared, compared, controls
from vifx.experiment.suite import Suite
from vifx.files import write_whole

_ARROWS = {"lower": " ↓", "higher": " ↑", "": ""}


def write_benchmark(directory: Path, suite: Suite, seeds: int, versions: Mapping[str, str]) -> list[Path]:
    """Write the table as ``benchmark.md``, ``.html``, ``.png``, ``table.csv`` and ``table.json``; return their paths.

    Args:
      directory: where the runs of the families are.
      suite: what was trained.
      seeds: how many runs a family has.
      versions: what they ran on.
    """
    from vifx import evaluation

    runs = {family: _results(directory / family.folder, seeds) for family in suite.families}
    every = [results for each in runs.values() for results in each]
    rows = [compared(family.name, found, suite.columns) for family, found in runs.items()]
    rows += controls(every, suite.columns)
    record = json.loads((directory / "benchmark.json").read_text(encoding="utf-8"))
    spent = {family.name: _spent(directory / family.folder, seeds) for family in suite.families}
    table = _table(rows, suite.columns, spent)
    shown = [column for column in suite.columns if COLUMNS[column].better]
    picture = evaluation.png(
        evaluation.families_chart(
            {row.name: {c: (v.median, v.low, v.high) for c, v in row.cells.items()} for row in rows},
            {column: COLUMNS[column].heading + _ARROWS[COLUMNS[column].better] for column in shown},
            muted=[row.name for row in rows if row.kind == "control"],
            title=suite.title,
        )
    )
    lead = _lead(record, seeds)
    page = evaluation.report_html(
        title=f"Benchmark: {suite.title}",
        summary=lead,
        runs=table,
        figures={"benchmark": picture},
        versions=versions,
        commands=[f"vifx benchmark {record['suite']} --minutes {record['minutes']:g} --seeds {seeds}"],
    )
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    lines.insert(1, "|" + "---|" * len(table[0]))
    numbers = {
        **record,
        "title": suite.title,
        "versions": dict(versions),
        "rows": [_as_json(row, spent) for row in rows],
    }
    written = {
        "benchmark.md": "\n".join([lead, "", *lines, ""]).encode(),
        "table.csv": _csv(table),
        "table.json": (json.dumps(numbers, indent=2, ensure_ascii=False) + "\n").encode(),
        "benchmark.png": picture,
        "benchmark.html": page.encode(),
    }
    for name, content in written.items():
        write_whole(directory / name, content)
    return [directory / name for name in written]


def _results(folder: Path, seeds: int) -> list[dict[str, float]]:
    paths = [folder / f"seed={seed}" / "results.json" for seed in range(seeds)]
    found = [json.loads(path.read_text(encoding="utf-8"))["metrics"] for path in paths if path.is_file()]
    return [{name: row["value"] for name, row in metrics.items()} for metrics in found]


def _spent(folder: Path, seeds: int) -> dict[str, float]:
    """Return the median over seeds of updates, minutes and parameters."""
    paths = [folder / f"seed={seed}.json" for seed in range(seeds)]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]
    names = ("updates", "seconds", "parameters")
    return {
        name: median(each[name] for each in found) for name in names if found and all(name in each for each in found)
    }


def _table(
    rows: Sequence[Compared], columns: Sequence[str], spent: Mapping[str, Mapping[str, float]]
) -> list[list[str]]:
    headings = [COLUMNS[column].heading + _ARROWS[COLUMNS[column].better] for column in columns]
    table = [["", *headings, "parameters", "updates", "minutes"]]
    for row in rows:
        cells = [str(row.cells[column]) if column in row.cells else "" for column in columns]
        own = spent.get(row.name, {})
        costs = [f"{own[name]:,.0f}" if name in own else "" for name in ("parameters", "updates")]
        minutes = f"{own['seconds'] / 60:.2f}" if "seconds" in own else ""
        name = row.name if row.kind == "control" or row.seeds else f"{row.name} (failed)"
        table.append([f"*{name}*" if row.kind == "control" else name, *cells, *costs, minutes])
    return table


def _lead(record: Mapping[str, Any], seeds: int) -> str:
    minutes = "one minute" if record["minutes"] == 1 else f"{record['minutes']:g} minutes"
    over = "one seed" if seeds == 1 else f"the median over {seeds} seeds, with the smallest and the largest value"
    return (
        f"At most {minutes} of training for each model, compilation and evaluation not counted; a "
        f"model that no longer improves on the validation split stops before; {over}. ≤ is an upper bound and ≥ a "
        "lower one. In italics what no model was trained for."
    )


def _as_json(row: Compared, spent: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    cells = {column: cell._asdict() for column, cell in row.cells.items()}
    return {"name": row.name, "kind": row.kind, "seeds": row.seeds, **spent.get(row.name, {}), "cells": cells}


def _csv(table: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[cell.strip("*") for cell in row] for row in table])
    return text.getvalue().encode()
