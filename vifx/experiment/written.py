"""A run by what it has written: nothing of its experiment is executed, so that it may be a stranger's."""

from __future__ import annotations

__all__ = ["Written", "read_written"]

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vifx.experiment.rules import flat
from vifx.experiment.shipped import resolved_path
from vifx.training import read_metrics
from vifx.training.metrics import Row


class Written(NamedTuple):
    """What a run has written so far.

    Attributes:
      directory: where it lies.
      experiment: the name of its experiment file.
      record: its ``config.json``.
      options: its config, by option without dashes.
      rows: its log.
      results: what was measured at the end: by metric its value, standard error and unit; empty before.
      step: the update that was measured; None before.
    """

    directory: Path
    experiment: str
    record: Mapping[str, Any]
    options: Mapping[str, Any]
    rows: list[Row]
    results: Mapping[str, Mapping[str, Any]]
    step: int | None


def read_written(directory: Path) -> Written:
    """Read what a run has written.

    Raises:
      FileNotFoundError: if it is not a run directory.
      ValueError: if a file of it is damaged.
    """
    record_path, results_path, log = (directory / name for name in ("config.json", "results.json", "metrics.jsonl"))
    if not record_path.is_file():
        raise FileNotFoundError(f"{str(directory)!r} is not a run directory: it has no config.json")
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        options, experiment = flat(record["config"]), resolved_path(record["experiment"]["file"]).stem
        found = json.loads(results_path.read_text(encoding="utf-8")) if results_path.is_file() else {}
        kept = ("value", "standard_error", "unit")
        results = {name: {key: row[key] for key in kept} for name, row in found.get("metrics", {}).items()}
        step = int(found["step"]) if found else None
        rows = read_metrics(log) if log.is_file() else []
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(
            f"{str(directory)!r} is damaged: {error}; vifx checkpoint verify says what is whole"
        ) from error
    return Written(directory, experiment, record, options, rows, results, step)
